# moonseek: `make` builds, `make test` tests, `make demo` shows; `make help` lists the rest.

VERSION = 0.1.0
BUILD  ?= build
CC     ?= cc
CFLAGS ?= -O2 -g

# ABIs of Lua to build for: 5.4, and 5.1 which LuaJIT, LÖVE and OpenResty share.
ABIS ?= 5.4 5.1
LUA_INCDIR_5.4 ?= $(firstword $(wildcard /usr/include/lua5.4 /usr/local/include/lua5.4) /usr/include)
LUA_INCDIR_5.1 ?= $(firstword $(wildcard /usr/include/lua5.1 /usr/include/luajit-2.1) /usr/include)

WARNINGS = -Wall -Wextra -Wshadow -Wconversion -Wundef -Wwrite-strings -Wstrict-prototypes -Wmissing-prototypes
# gnu11: uv.h needs more than c11. No contraction: a sum has one order and one rounding (docs/determinism).
COMMON = -std=gnu11 -D_POSIX_C_SOURCE=200809L -D_DEFAULT_SOURCE -DMS_VERSION='"$(VERSION)"' -fPIC \
         -fvisibility=hidden -ffp-contract=off -fno-math-errno -pthread $(WARNINGS) -MMD -MP
LINK = -shared -pthread -Wl,-z,nodelete -Wl,-z,relro,-z,now
LIBS = -luv -ljansson -lxxhash -ldl -lm

ENGINE  = $(filter-out csrc/lua/%,$(wildcard csrc/*/*.c csrc/*/*/*.c))
BINDING = $(wildcard csrc/lua/*.c)
INSIDE  = $(wildcard spec/internals/*.c)

ENGINE_OBJECTS = $(ENGINE:%.c=$(BUILD)/%.o)
MODULES = $(foreach abi,$(ABIS),$(BUILD)/$(abi)/moonseek/core.so)
SPEC_MODULES = $(foreach abi,$(ABIS),$(BUILD)/$(abi)/moonseek_spec.so)

all: $(MODULES) $(BUILD)/libmoonseek.a

$(BUILD)/libmoonseek.a: $(ENGINE_OBJECTS)
	@rm -f $@
	$(AR) rcs $@ $^

# Kernels of one instruction set: csrc/compute/cpu/*_avx2.c, *_avx512.c. The rest of the code is baseline.
$(BUILD)/%_avx2.o: TARGET = -mavx2 -mfma -mf16c
$(BUILD)/%_avx512.o: TARGET = -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mprefer-vector-width=512
$(BUILD)/csrc/compute/cpu/kernels_%.o: OPTIMISE = -O3

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(OPTIMISE) $(COMMON) $(TARGET) -c $< -o $@

# What depends on the ABI: the binding and the specs' window into the engine.
define abi_rules
$(BUILD)/$(1)/%.o: %.c
	@mkdir -p $$(@D)
	$$(CC) $$(CFLAGS) $$(COMMON) -I$$(LUA_INCDIR_$(1)) -c $$< -o $$@

$(BUILD)/$(1)/moonseek/core.so: $(BINDING:%.c=$(BUILD)/$(1)/%.o) $(BUILD)/libmoonseek.a
	@mkdir -p $$(@D)
	$$(CC) $$(LINK) $$(LDFLAGS) $$^ $$(LIBS) -o $$@

$(BUILD)/$(1)/moonseek_spec.so: $(BINDING:%.c=$(BUILD)/$(1)/%.o) $(INSIDE:%.c=$(BUILD)/$(1)/%.o) $(BUILD)/libmoonseek.a
	@mkdir -p $$(@D)
	$$(CC) $$(LINK) $$(LDFLAGS) $$^ $$(LIBS) -o $$@
endef
$(foreach abi,$(ABIS),$(eval $(call abi_rules,$(abi))))

spec-modules: $(SPEC_MODULES)

clean:
	rm -rf $(BUILD)

-include $(ENGINE_OBJECTS:.o=.d)
-include $(foreach abi,$(ABIS),$(BINDING:%.c=$(BUILD)/$(abi)/%.d) $(INSIDE:%.c=$(BUILD)/$(abi)/%.d))

.PHONY: all clean spec-modules
.SECONDARY:
