# make bench: build/bench.json
$(BUILD)/bench/%: tests/bench/%.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CSTD) $(WARN) $(CFLAGS) -o $@ $< $(shell $(PKGCONFIG) --cflags --libs jansson)

bench:
	@tests/bench/run
