# make bench: build/bench.json
$(BUILD)/bench/%: tests/bench/%.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CSTD) $(WARN) $(CFLAGS) -o $@ $< $(shell $(PKGCONFIG) --cflags --libs jansson)

# Drives xvmm's own device code, so it is linked with it.
LANE_OBJS := $(addprefix $(BUILD)/tests/,bench/bench_lane.o bench/lane_bench.o bench/lane_nic.o \
	       bench/lane_host.o bench/lane_slots.o bench/bench_mapped.o bench/bench_swap.o unit/mock_platform.o)
$(BUILD)/bench/bench_lane: $(LANE_OBJS) $(BUILD)/libxvmm.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS) $(shell $(PKGCONFIG) --libs jansson)

-include $(LANE_OBJS:.o=.d)

bench:
	@tests/bench/run
