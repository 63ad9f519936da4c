# moonseek: `make demo` shows it, `make test` tests it; `make help` lists the rest.

VERSION = 0.1.0
BUILD  ?= build
CC     ?= cc
CFLAGS ?= -O2 -g
PREFIX ?= /usr/local
JOBS   ?= $(shell nproc 2>/dev/null || echo 1)

# The Lua ABIs to build for: 5.4, and 5.1 which LuaJIT, LÖVE and OpenResty share; by default those whose
# headers are there. LuaRocks names one by LUA and LUA_INCDIR.
ifdef LUA_INCDIR
ABIS := $(shell $(LUA) -e 'io.write((_VERSION:match("%d+%.%d+")))')
LUA_INCDIR_$(ABIS) := $(LUA_INCDIR)
endif
LUA_INCDIR_5.4 ?= $(firstword $(wildcard /usr/include/lua5.4 /usr/local/include/lua5.4) /usr/include)
LUA_INCDIR_5.1 ?= $(firstword $(wildcard /usr/include/lua5.1 /usr/include/luajit-2.1) /usr/include)
ABIS ?= $(or $(foreach abi,5.4 5.1,$(if $(wildcard $(LUA_INCDIR_$(abi))/lua.h),$(abi))),5.4)

NEEDED = lua5.4 liblua5.4-dev liblua5.1-0-dev libuv1-dev libjansson-dev libxxhash-dev libopenblas0-serial
NEEDED_TO_TEST = luajit lua-busted lua-check lua-socket lua-cqueues lua-luv poppler-utils

WARNINGS = -Wall -Wextra -Wshadow -Wconversion -Wundef -Wwrite-strings -Wstrict-prototypes -Wmissing-prototypes
# gnu11: uv.h needs more than c11. No contraction: a sum has one order and one rounding (docs/numerics.md).
COMMON = -std=gnu11 -D_POSIX_C_SOURCE=200809L -D_DEFAULT_SOURCE -DMS_VERSION='"$(VERSION)"' -fPIC \
         -fvisibility=hidden -ffp-contract=off -fno-math-errno -pthread $(WARNINGS) -MMD -MP
# nodelete: Lua unloads modules at lua_close, while a worker may still be inside.
LINK = -shared -pthread -Wl,-z,nodelete -Wl,-z,relro,-z,now
LIBS = -luv -ljansson -lxxhash -ldl -lm

ENGINE  = $(filter-out csrc/lua/%,$(wildcard csrc/*/*.c csrc/*/*/*.c))
BINDING = $(wildcard csrc/lua/*.c)
INSIDE  = $(wildcard spec/internals/*.c)
LIBRARY = $(patsubst lua/%,%,$(wildcard lua/moonseek/*.lua lua/moonseek/*/*.lua))

ENGINE_OBJECTS = $(ENGINE:%.c=$(BUILD)/%.o)
MODULES = $(foreach abi,$(ABIS),$(BUILD)/$(abi)/moonseek/core.so)
SPEC_MODULES = $(foreach abi,$(ABIS),$(BUILD)/$(abi)/moonseek_spec.so)

##  make            the module for the Lua ABIs whose headers are there (ABIS="5.4 5.1"), and libmoonseek.a
all: $(MODULES) $(BUILD)/libmoonseek.a

$(BUILD)/libmoonseek.a: $(ENGINE_OBJECTS)
	@rm -f $@
	$(AR) rcs $@ $^

# Kernels of one instruction set; everything else is the baseline of the platform.
MACHINE := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine 2>/dev/null)))
ifeq ($(MACHINE),x86_64)
AVX2 = -mavx2 -mfma -mf16c
$(BUILD)/%_avx2.o: TARGET = $(AVX2)
$(BUILD)/%_avxvnni.o: TARGET = $(AVX2) -mavxvnni
AVX512 = $(AVX2) -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mprefer-vector-width=512
$(BUILD)/%_avx512.o: TARGET = $(AVX512)
VBMI = $(AVX512) -mavx512vbmi -mgfni
$(BUILD)/%_avx512vbmi.o: TARGET = $(VBMI)
$(BUILD)/%_avx512bf16.o: TARGET = $(VBMI) -mavx512bf16
else ifeq ($(MACHINE),aarch64)
$(BUILD)/%_dotprod.o: TARGET = -march=armv8.2-a+dotprod
endif
$(BUILD)/csrc/compute/cpu/%.o: OPTIMISE = -O3
$(BUILD)/csrc/compute/cpu/kernels_%.o: OPTIMISE = -O3 $(KERNELS)
$(BUILD)/csrc/convert/encode%.o: OPTIMISE = -O3

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(OPTIMISE) $(COMMON) $(TARGET) -c $< -o $@

# What depends on the ABI: the binding, and the specs' window into the engine.
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

needed:
	@tools/dependencies.sh $(NEEDED)

needed-to-test: needed
	@tools/dependencies.sh $(NEEDED_TO_TEST)

RUN = LUA_PATH="./lua/?.lua;./lua/?/init.lua;./?.lua;;" LUA_CPATH="$(BUILD)/5.4/?.so;;" lua5.4

##  make demo       installs what is missing, builds, and shows the pocket model at work
demo: needed
	@$(MAKE) -s -j$(JOBS) --no-print-directory all
	@$(RUN) examples/demo.lua

##  make ask        questions to a long document: ARGS="FILE --model PATH"
ask: needed
	@$(MAKE) -s -j$(JOBS) --no-print-directory all
	@$(RUN) examples/documents_ask.lua $(ARGS)

##  make convert    a model in another container or with other types: ARGS="SOURCE TARGET [OPTIONS]" (docs/convert.md)
convert: needed
	@$(MAKE) -s -j$(JOBS) --no-print-directory all
	@$(RUN) bin/moonseek-convert $(ARGS)

##  make extract    a folder of documents to CSV: ARGS="FOLDER --fields a,b --model PATH --journal FILE"
extract: needed
	@$(MAKE) -s -j$(JOBS) --no-print-directory all
	@$(RUN) examples/extract.lua $(ARGS)

##  make chat       a chat in the terminal: ARGS="--model PATH"
chat: needed
	@tools/dependencies.sh lua-luv
	@$(MAKE) -s -j$(JOBS) --no-print-directory all
	@$(RUN) examples/chat.lua $(ARGS)

##  make triage     support mails through a router: ARGS="--model PATH MAIL.txt ..."
triage: needed
	@$(MAKE) -s -j$(JOBS) --no-print-directory all
	@$(RUN) examples/mail_triage.lua $(ARGS)

##  make agent      an agent with a calculator and a key-value store: ARGS="--model PATH"
agent: needed
	@$(MAKE) -s -j$(JOBS) --no-print-directory all
	@$(RUN) examples/agent.lua $(ARGS)

##  make test       the specs on Lua 5.4 and LuaJIT, luacheck
test: needed-to-test
	@$(MAKE) -s -j$(JOBS) --no-print-directory all spec-modules
	@MOONSEEK_BUILD=$(BUILD) LUACHECK="lua spec examples bench models library tools docs bin/moonseek-convert" \
	  tools/test.sh lua5.4:lua5.4 luajit:luajit

##  make test-sanitize test-kill   the specs under AddressSanitizer and UndefinedBehaviorSanitizer, more mutated files
SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
test-sanitize: needed-to-test
	@$(MAKE) -s -j$(JOBS) --no-print-directory BUILD=$(BUILD)/sanitize ABIS=5.4 CFLAGS="-O1 -g $(SANITIZE)" OPTIMISE= \
	  LDFLAGS="$(SANITIZE)" spec-modules
	@MOONSEEK_BUILD=$(BUILD)/sanitize MOONSEEK_FUZZ=10 UBSAN_OPTIONS=print_stacktrace=1 \
	  MOONSEEK_PRELOAD=$$($(CC) -print-file-name=libasan.so) \
	  tools/test.sh 'lua5.4:LD_PRELOAD=$$MOONSEEK_PRELOAD lua5.4'

##  make test-threads    the specs of threads, jobs and hosts under ThreadSanitizer
# The kernels, which touch what a stage gives them and nothing else, are left as they are: seven times as fast. TSan
# cannot follow a child of a process with threads, so the specs of forks (L13, "process") stay out.
THREADED = --filter-out=L13 --filter-out=process spec/runtime spec/host spec/lua/host_spec.lua spec/lua/job_spec.lua \
           spec/lua/attach_spec.lua spec/lua/step_spec.lua spec/lua/faults_spec.lua
test-threads: needed-to-test
	@$(MAKE) -s -j$(JOBS) --no-print-directory BUILD=$(BUILD)/threads ABIS=5.4 CFLAGS="-O2 -g -fsanitize=thread" \
	  KERNELS=-fno-sanitize=thread LDFLAGS=-fsanitize=thread spec-modules
	@MOONSEEK_BUILD=$(BUILD)/threads SPECS="$(THREADED)" TSAN_OPTIONS="$(TSAN)" \
	  MOONSEEK_PRELOAD=$$($(CC) -print-file-name=libtsan.so) \
	  tools/test.sh 'lua5.4:LD_PRELOAD=$$MOONSEEK_PRELOAD $(UNSHUFFLED) lua5.4'
TSAN = halt_on_error=1 abort_on_error=1 suppressions=spec/threads.supp
# Some kernels' address layouts leave TSan no room; not every container may ask for another.
UNSHUFFLED = $(shell setarch -R true 2>/dev/null && echo setarch -R)

##  make test-neon  specs of kernels, formats, text and model on emulated ARM: a cross compiler, qemu-user (minutes)
# The emulator cannot start threads in a child of a process with threads: that spec ("process") stays out. EMULATED
# names others; those of the whole forward pass take most of an hour.
ARM64 = $(BUILD)/neon/arm64
NEEDED_FROM_ARM64 = lua5.4 liblua5.4-dev libuv1-dev libjansson-dev libxxhash-dev libopenblas0-serial lua-busted
EMULATED ?= --filter-out=process spec/compute spec/format spec/text \
            $(foreach part,config config_metadata weights routing,spec/model/$(part)_spec.lua)
test-neon: needed-to-test
	@tools/dependencies.sh gcc-aarch64-linux-gnu qemu-user
	@tools/arm64.sh $(ARM64) $(NEEDED_FROM_ARM64)
	@$(MAKE) -s -j$(JOBS) --no-print-directory BUILD=$(BUILD)/neon ABIS=5.4 AR=aarch64-linux-gnu-ar \
	  CC="aarch64-linux-gnu-gcc --sysroot=$(ARM64)/root" LUA_INCDIR_5.4=$(ARM64)/root/usr/include/lua5.4 spec-modules
	@MOONSEEK_BUILD=$(BUILD)/neon MOONSEEK_EMULATED=1 SPECS="$(EMULATED)" tools/test.sh lua5.4:$(ARM64)/lua5.4

##  make test-kill  5,000 saves killed in the middle, each of which must leave a whole file (minutes)
test-kill: needed-to-test
	@$(MAKE) -s -j$(JOBS) --no-print-directory ABIS=5.4 spec-modules
	@MOONSEEK_BUILD=$(BUILD) MOONSEEK_KILLS=5000 lua5.4 /usr/bin/busted --filter=F08 spec/runtime/saving_spec.lua

##  make test-convert   conversions of gigabytes: the memory they take (a minute, 5 GB of disk under /tmp)
test-convert: needed-to-test
	@$(MAKE) -s -j$(JOBS) --no-print-directory ABIS=5.4 spec-modules
	@MOONSEEK_BUILD=$(BUILD) MOONSEEK_LARGE=1 SPECS=spec/convert/memory_spec.lua tools/test.sh lua5.4:lua5.4

##  make fuzz       a container's parser under libFuzzer and sanitizers: FUZZ=gguf or safetensors, DURATION seconds
FUZZ     ?= gguf
DURATION ?= 60
FUZZED = $(wildcard csrc/base/*.c csrc/format/*.c csrc/text/*.c)
fuzz: needed
	@tools/dependencies.sh clang
	@$(MAKE) -s --no-print-directory ABIS=5.4 spec-modules
	@mkdir -p $(BUILD)/fuzz/$(FUZZ)
	clang -O1 -g $(filter-out -MMD -MP,$(COMMON)) -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
	  spec/fuzz/$(FUZZ).c $(FUZZED) $(LIBS) -o $(BUILD)/fuzz/fuzz-$(FUZZ)
	MOONSEEK_BUILD=$(BUILD) LUA_PATH="./?.lua;./lua/?.lua;;" lua5.4 spec/fuzz/seeds.lua $(BUILD)/fuzz/$(FUZZ)
	$(BUILD)/fuzz/fuzz-$(FUZZ) -max_total_time=$(DURATION) -timeout=5 -rss_limit_mb=512 -max_len=65536 \
	  -print_final_stats=1 -artifact_prefix=$(BUILD)/fuzz/ $(BUILD)/fuzz/$(FUZZ)

##  make test-states     ten thousand Lua states, in four threads, that end with jobs in flight (minutes)
test-states: needed-to-test
	@$(MAKE) -s -j$(JOBS) --no-print-directory ABIS=5.4 spec-modules
	@MOONSEEK_BUILD=$(BUILD) MOONSEEK_STATES=2500 SPECS=spec/host/states_spec.lua tools/test.sh lua5.4:lua5.4

##  make test-algebra    random sequences of operations on sessions against fresh replays, COUNT of them from SEED on
COUNT ?= 100000
SEED  ?= 1
test-algebra: needed
	@$(MAKE) -s -j$(JOBS) --no-print-directory ABIS=5.4 spec-modules
	@MOONSEEK_BUILD=$(BUILD) lua5.4 spec/algebra/walk.lua --seed $(SEED) --count $(COUNT)

spec-modules: $(SPEC_MODULES)

##  make bench      the pocket model: reading and generating speed, CPU time, memory; many sessions at once
bench: needed
	@$(MAKE) -s -j$(JOBS) --no-print-directory all
	@$(RUN) bench/bench.lua
	@$(RUN) bench/sessions.lua

##  make bench-million   two models at 2^20 tokens: memory, speed by depth, forks, retrieval (minutes)
.PHONY: bench-million
bench-million: needed
	@$(MAKE) -s -j$(JOBS) --no-print-directory spec-modules
	@MOONSEEK_BUILD=$(BUILD) lua5.4 bench/million.lua

##  make bench-kernels   products of every stored type with one row and with several, by CPU time (minutes)
.PHONY: bench-kernels
bench-kernels: needed
	@$(MAKE) -s -j$(JOBS) --no-print-directory spec-modules
	@MOONSEEK_BUILD=$(BUILD) lua5.4 bench/kernels.lua

##  make bench-encodings   what stored forms lose, in weights and in the pocket model's answers: docs/convert.md
.PHONY: bench-encodings
bench-encodings: needed
	@$(MAKE) -s -j$(JOBS) --no-print-directory spec-modules
	@MOONSEEK_BUILD=$(BUILD) lua5.4 bench/encodings.lua

##  make bench-decode   four layers of V4-Flash, random weights (4 GB on disk): decoding against the memory's speed
.PHONY: bench-decode
bench-decode: needed
	@$(MAKE) -s -j$(JOBS) --no-print-directory all
	@$(CC) -O3 -march=native -pthread bench/bandwidth.c -o $(BUILD)/bandwidth
	@$(RUN) bench/decode.lua $(BUILD)/l4 $(BUILD)/bandwidth

##  make bench-reading   reading 512 tokens: speed on the wall, CPU time, stages: MODEL=PATH
.PHONY: bench-reading
bench-reading: needed
	@$(MAKE) -s -j$(JOBS) --no-print-directory all
	@$(RUN) bench/reading.lua '$(MODEL)'

##  make bench-depth     generating at 8k, 32k and 128k tokens against the first, and memory: MODEL=PATH
.PHONY: bench-depth
bench-depth: needed
	@$(MAKE) -s -j$(JOBS) --no-print-directory spec-modules
	@MOONSEEK_BUILD=$(BUILD) lua5.4 bench/depth.lua $(MODEL)

##  make bench-compare   beside other engines on a file of bench/flash_gguf.lua: ARGS="KIND FILE --llama PROGRAM .."
.PHONY: bench-compare
bench-compare: needed
	@tools/dependencies.sh lua-luv
	@$(MAKE) -s -j$(JOBS) --no-print-directory all
	@$(CC) -O3 -march=native -pthread bench/bandwidth.c -o $(BUILD)/bandwidth
	@$(RUN) bench/compare.lua $(BUILD)/bandwidth $(ARGS)

##  make bench-routing   what a router is worth on the pocket model: the tables of docs/router.md (minutes)
bench-routing: needed
	@$(MAKE) -s -j$(JOBS) --no-print-directory all
	@$(RUN) bench/routing.lua

##  make memory     what sessions of V4-Flash and V4-Pro cost: the figures of docs/memory.md
memory: needed
	@$(MAKE) -s -j$(JOBS) --no-print-directory all
	@$(RUN) bench/memory.lua

##  make evaluate   what the pocket model can do, on held-out inputs (minutes)
evaluate: needed
	@$(MAKE) -s -j$(JOBS) --no-print-directory all
	@$(RUN) models/pocket/evaluate.lua

##  make oracle     every numerics mode against the oracle's logits: the table of docs/numerics.md
oracle: needed
	@$(MAKE) -s -j$(JOBS) --no-print-directory spec-modules
	@MOONSEEK_BUILD=$(BUILD) lua5.4 bench/oracle.lua

##  make reference  docs/reference.md and library/moonseek.lua, made from the table of public functions in docs/api
reference:
	@lua5.4 tools/reference.lua

##  make install    the module for every ABI, moonseek-convert, the C library and its header, under PREFIX (/usr/local);
##                  DESTDIR is honoured
INST_LUADIR ?= $(PREFIX)/share/lua/$(1)
INST_LIBDIR ?= $(PREFIX)/lib/lua/$(1)
INST_BINDIR ?= $(PREFIX)/bin
define install_abi
	for file in $(LIBRARY); do install -D -m 644 lua/$$file $(DESTDIR)$(call INST_LUADIR,$(1))/$$file || exit 1; done
	install -d $(DESTDIR)$(call INST_LIBDIR,$(1))/moonseek
	install -m 755 $(BUILD)/$(1)/moonseek/core.so $(DESTDIR)$(call INST_LIBDIR,$(1))/moonseek

endef
install: all
	$(foreach abi,$(ABIS),$(call install_abi,$(abi)))
	install -D -m 755 bin/moonseek-convert $(DESTDIR)$(INST_BINDIR)/moonseek-convert
	$(if $(LUA),sed -i "1s|.*|#!$$(command -v '$(LUA)')|" $(DESTDIR)$(INST_BINDIR)/moonseek-convert)
	install -d $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/lib
	install -m 644 csrc/moonseek.h $(DESTDIR)$(PREFIX)/include
	install -m 644 $(BUILD)/libmoonseek.a $(DESTDIR)$(PREFIX)/lib

clean:
	rm -rf $(BUILD)

##  make help       this list
help:
	@sed -n 's/^##  //p' Makefile

-include $(ENGINE_OBJECTS:.o=.d)
-include $(foreach abi,$(ABIS),$(BINDING:%.c=$(BUILD)/$(abi)/%.d) $(INSIDE:%.c=$(BUILD)/$(abi)/%.d))

.PHONY: all needed needed-to-test demo chat ask convert extract triage agent test test-sanitize test-threads test-neon \
        test-kill test-convert test-states test-algebra spec-modules fuzz bench bench-routing memory evaluate oracle \
        reference install clean help
.SECONDARY:
