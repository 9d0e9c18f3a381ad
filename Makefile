# Sallyport: a mail submission server.  GNU make, one makefile for all.
#
#   make            both programs in build/
#   make deps       install what building and testing need (Debian)
#   make demo       a complete instance, two real messages, then stop
#   make run        the same, and it stays up
#   make check      all tests
#   make bench      measurements (t/bench)
#   make install    PREFIX= DESTDIR=
#
# WERROR=1 makes warnings errors (CI does), SAN=address,undefined or
# SAN=thread builds with sanitizers (use another BUILD=).

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:

VERSION := 0.1.0
BUILD ?= build
PREFIX ?= /usr/local
sbindir = $(PREFIX)/sbin
mandir = $(PREFIX)/share/man
unitdir = $(PREFIX)/lib/systemd/system
sysusersdir = $(PREFIX)/lib/sysusers.d
pamdir = /etc/pam.d

ifeq ($(origin CC),default)
CC := gcc
endif
PACKAGES := gnutls libgsasl libconfuse libunbound libseccomp libsystemd jansson
LIBS = $(shell pkg-config --libs $(PACKAGES)) -lpam -lkyotocabinet -lpthread

OPT ?= -O2
CFLAGS ?= $(OPT) -g
WARNINGS := -Wall -Wextra -Wshadow -Wformat=2 -Wstrict-prototypes \
	-Wmissing-prototypes -Wpointer-arith -Wwrite-strings -Wvla -Wundef
ALL_CFLAGS = -std=gnu17 $(WARNINGS) $(if $(WERROR),-Werror) \
	-fPIE -fstack-protector-strong -fno-strict-aliasing -pthread \
	-D_GNU_SOURCE -DSALLYPORT_VERSION='"$(VERSION)"' \
	$(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer,-D_FORTIFY_SOURCE=2 -fstack-clash-protection) \
	$(CFLAGS)
ALL_LDFLAGS = -pie -Wl,-z,relro,-z,now -Wl,-z,noexecstack \
	$(if $(SAN),-fsanitize=$(SAN)) $(LDFLAGS)

PARTS := policy pki tls auth server tools
SOURCES := $(sort $(foreach d,$(PARTS),$(wildcard $(d)/*.c)))
MAINS := server/main.c tools/main.c
LIB_SOURCES := $(filter-out $(MAINS),$(SOURCES))
UNIT_SOURCES := $(sort $(wildcard t/unit/*.c))
FUZZ_SOURCES := $(sort $(wildcard t/fuzz/*.c))
PRELOAD_SOURCES := $(sort $(wildcard t/preload/*.c))
BENCH_SOURCES := $(sort $(wildcard t/bench/*.c))

object = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
UNITS := $(patsubst t/unit/%.c,$(BUILD)/t/unit/%.t,$(UNIT_SOURCES))
FUZZERS := $(patsubst t/fuzz/%.c,$(BUILD)/t/fuzz/%,$(FUZZ_SOURCES))
PRELOADS := $(patsubst t/preload/%.c,$(BUILD)/t/preload/%.so,$(PRELOAD_SOURCES))
BENCHES := $(patsubst t/bench/%.c,$(BUILD)/t/bench/%,$(BENCH_SOURCES))
PROGRAMS := $(BUILD)/sallyportd $(BUILD)/sallyport

.PHONY: all
all: $(PROGRAMS)

$(BUILD)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	@echo "  CC      $<"
	@$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# Everything but the two mains; the linker takes what a program needs.
$(BUILD)/libsallyport.a: $(call object,$(LIB_SOURCES))
	@echo "  AR      $@"
	@rm -f $@ && $(AR) rcs $@ $^

define link
	@mkdir -p $(@D)
	@echo "  LINK    $@"
	@$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(1) $(LIBS)
endef

$(BUILD)/sallyportd: $(BUILD)/obj/server/main.o $(BUILD)/libsallyport.a
	$(call link)
$(BUILD)/sallyport: $(BUILD)/obj/tools/main.o $(BUILD)/libsallyport.a
	$(call link)
$(BUILD)/t/unit/%.t: $(BUILD)/obj/t/unit/%.o $(BUILD)/libsallyport.a
	$(call link,-lcmocka)
$(BUILD)/t/fuzz/%: $(BUILD)/obj/t/fuzz/%.o $(BUILD)/libsallyport.a
	$(call link)
$(BUILD)/t/bench/%: $(BUILD)/obj/t/bench/%.o $(BUILD)/libsallyport.a
	$(call link)
$(BUILD)/t/preload/%.so: t/preload/%.c Makefile
	@mkdir -p $(@D)
	@echo "  CC      $<"
	@$(CC) -std=gnu17 $(WARNINGS) -D_GNU_SOURCE -O2 -g -fPIC -shared -o $@ $< -ldl

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)

.PHONY: programs units tests
programs: $(PROGRAMS)
units: $(UNITS)
tests: $(PROGRAMS) $(UNITS) $(FUZZERS) $(PRELOADS)

.PHONY: format clean
format:
	clang-format -i $(wildcard $(addsuffix /*.[ch],$(PARTS) t/unit t/fuzz t/preload t/bench))
clean:
	rm -rf build
