# make install [PREFIX=/usr/local] [DESTDIR=]: the program, its manual page, an example vm.ini.
INSTALL    ?= install
BINDIR     ?= $(PREFIX)/bin
MANDIR     ?= $(PREFIX)/share/man
EXAMPLEDIR ?= $(PREFIX)/share/doc/xvmm

install: $(BUILD)/xvmm
	$(INSTALL) -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(MANDIR)/man1 $(DESTDIR)$(EXAMPLEDIR)
	$(INSTALL) -m 755 $(BUILD)/xvmm $(DESTDIR)$(BINDIR)/xvmm
	sed 's/@VERSION@/$(VERSION)/' docs/xvmm.1 >$(DESTDIR)$(MANDIR)/man1/xvmm.1
	chmod 644 $(DESTDIR)$(MANDIR)/man1/xvmm.1
	$(INSTALL) -m 644 vm.ini.example $(DESTDIR)$(EXAMPLEDIR)/vm.ini.example

uninstall:
	rm -f $(DESTDIR)$(BINDIR)/xvmm $(DESTDIR)$(MANDIR)/man1/xvmm.1 \
		$(DESTDIR)$(EXAMPLEDIR)/vm.ini.example
	-rmdir $(DESTDIR)$(EXAMPLEDIR)

setup:
	@scripts/setup build run

.PHONY: install uninstall setup
