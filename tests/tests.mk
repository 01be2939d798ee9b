# Unit tests: every tests/unit/test_NAME.c is a program of its own, linked with all of xvmm but main.
UNIT_SRCS := $(wildcard tests/unit/test_*.c)
UNIT_BINS := $(UNIT_SRCS:tests/unit/%.c=$(BUILD)/unit/%)
UNIT_LIB  := $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(UNIT_SRCS),$(wildcard tests/unit/*.c)))

$(BUILD)/unit/%: $(BUILD)/tests/unit/%.o $(UNIT_LIB) $(BUILD)/libxvmm.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $(filter-out %.a,$^) $(BUILD)/libxvmm.a $(LIBS) \
		$(shell $(PKGCONFIG) --libs check)

unit: $(UNIT_BINS)

-include $(patsubst %.c,$(BUILD)/%.d,$(wildcard tests/unit/*.c))

# Every test that this machine can run: see tests/run.
check:
	@tests/run

-include guests/linux/linux.mk
