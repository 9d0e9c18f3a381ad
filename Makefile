# Sallyport: a mail submission server.  GNU make, one makefile for all.
#
#   make            both programs in build/
#   make deps       install what building and testing need (Debian)
#   make demo       a complete instance, two real messages, then stop
#   make run        the same, and it stays up
#   make check      all tests
#   make torture    the crash tests at length: ROUNDS=200 SEED=
#   make bench      measurements (t/bench)
#   make install    PREFIX= DESTDIR=
#
# WERROR=1 makes warnings errors (CI does), SAN=address,undefined or
# SAN=thread builds with sanitizers (use another BUILD=).  TESTS="t/20-smtp.t"
# narrows make check to some tests, JOBS= sets how many tests and compilers run
# at once.

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:

VERSION := 0.1.0
BUILD ?= build
PREFIX ?= /usr/local
sbindir = $(PREFIX)/sbin
mandir = $(PREFIX)/share/man
unitdir = $(PREFIX)/lib/systemd/system
sysusersdir = $(PREFIX)/lib/sysusers.d
hooksdir = $(PREFIX)/share/sallyport/hooks
pamdir = /etc/pam.d

ifeq ($(origin CC),default)
CC := gcc
endif
PACKAGES := gnutls libgsasl libconfuse libunbound libseccomp libsystemd jansson \
	libqrencode p11-kit-1
LIBS = $(shell pkg-config --libs $(PACKAGES)) -lpam -lcrypt -lkyotocabinet -lpthread

P11_KIT := $(shell pkg-config --cflags p11-kit-1)
OPT ?= -O2
CFLAGS ?= $(OPT) -g
WARNINGS := -Wall -Wextra -Wshadow -Wformat=2 -Wstrict-prototypes \
	-Wmissing-prototypes -Wpointer-arith -Wwrite-strings -Wvla -Wundef
ALL_CFLAGS = -std=gnu17 $(WARNINGS) $(if $(WERROR),-Werror) \
	-fPIE -fstack-protector-strong -fno-strict-aliasing -pthread \
	$(P11_KIT) \
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
ROOT_SOURCES := $(sort $(wildcard t/root/*.c))

object = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
UNITS := $(patsubst t/unit/%.c,$(BUILD)/t/unit/%.t,$(UNIT_SOURCES))
FUZZERS := $(patsubst t/fuzz/%.c,$(BUILD)/t/fuzz/%,$(FUZZ_SOURCES))
PRELOADS := $(patsubst t/preload/%.c,$(BUILD)/t/preload/%.so,$(PRELOAD_SOURCES))
BENCHES := $(patsubst t/bench/%.c,$(BUILD)/t/bench/%,$(BENCH_SOURCES))
ROOTS := $(patsubst t/root/%.c,$(BUILD)/t/root/%,$(ROOT_SOURCES))
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
# A fuzz target without a main of its own gets the driver's.
$(BUILD)/libfuzz.a: $(BUILD)/obj/t/lib/fuzz.o
	@rm -f $@ && $(AR) rcs $@ $^
$(BUILD)/t/fuzz/%: $(BUILD)/obj/t/fuzz/%.o $(BUILD)/libfuzz.a $(BUILD)/libsallyport.a
	$(call link)
$(BUILD)/t/root/%: $(BUILD)/obj/t/root/%.o $(BUILD)/libsallyport.a
	$(call link)
$(BUILD)/t/bench/%: $(BUILD)/obj/t/bench/%.o $(BUILD)/libsallyport.a
	$(call link)
$(BUILD)/t/preload/%.so: t/preload/%.c Makefile
	@mkdir -p $(@D)
	@echo "  CC      $<"
	@$(CC) -std=gnu17 $(WARNINGS) -D_GNU_SOURCE -O2 -g -fPIC -shared -o $@ $< -ldl

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)

.PHONY: programs units tests benches
programs: $(PROGRAMS)
units: $(UNITS)
tests: $(PROGRAMS) $(UNITS) $(FUZZERS) $(PRELOADS) $(ROOTS)
benches: $(PROGRAMS) $(BENCHES)

# What building and testing need, as Debian packages.
NEEDED := gcc libc6-dev libcrypt-dev make pkg-config \
	libgnutls28-dev libp11-kit-dev libgsasl-dev libpam0g-dev libkyotocabinet-dev \
	libconfuse-dev libunbound-dev libseccomp-dev libsystemd-dev \
	libjansson-dev libcurl4-gnutls-dev libqrencode-dev libcmocka-dev \
	perl libio-socket-ssl-perl zbar-tools \
	libpam-modules libpam-wrapper gnutls-bin gsasl curl swaks msmtp mutt \
	mandoc openssl ca-certificates iproute2 util-linux bsdutils \
	dns-root-data nsd ldnsutils faketime \
	krb5-kdc krb5-admin-server krb5-user libgssapi-krb5-2 softhsm2 opensc \
	libauthen-sasl-perl libdigest-hmac-perl python3 \
	pebble certbot lego uacme
# What these start in the background; the tests start their own.
SERVICES := nsd krb5-kdc krb5-admin-server certbot.timer
sudo := $(if $(filter-out 0,$(shell id -u)),sudo)

.PHONY: deps
deps:
	@missing=; for p in $(NEEDED); do \
		dpkg-query -W -f '$${db:Status-Status}' $$p 2>/dev/null | \
		grep -q '^installed' || missing="$$missing $$p"; \
	done; \
	if [ -z "$$missing" ]; then \
		echo "deps: all $(words $(NEEDED)) packages are installed"; \
	else \
		echo "deps: installing$$missing"; set -e; \
		$(sudo) apt-get update -q; \
		$(sudo) env DEBIAN_FRONTEND=noninteractive \
			apt-get install -q -y --no-install-recommends $$missing; \
		for s in $(SERVICES); do \
			case "$$missing " in *" $${s%.timer} "*) \
				! test -d /run/systemd/system || \
				$(sudo) systemctl -q disable --now $$s;; \
			esac; \
		done; \
	fi

# Packages first, then a make that sees them.
JOBS ?= 2
.PHONY: demo run check torture bench
demo run: deps
	@$(MAKE) --no-print-directory -j$(JOBS) programs
	@SALLYPORT_BUILD=$(BUILD) perl t/demo.pl $@
bench: deps
	@$(MAKE) --no-print-directory -j$(JOBS) benches
	@SALLYPORT_BUILD=$(BUILD) perl t/bench/bench.pl $(BENCH)

# All tests, plain and under the sanitizers, as one run.
TESTS ?=
SANITIZED := $(BUILD)/asan
check: deps
	@echo "check: building"
	@$(MAKE) --no-print-directory -j$(JOBS) tests
	@echo "check: building with AddressSanitizer and UndefinedBehaviorSanitizer"
	@$(MAKE) --no-print-directory -j$(JOBS) tests BUILD=$(SANITIZED) \
		SAN=address,undefined OPT=-O1
	@perl t/check.pl $(BUILD) $(SANITIZED) $(JOBS) $(TESTS)

# Roles killed and the power cut, many more times than make check does.
ROUNDS ?= 200
torture: deps
	@$(MAKE) --no-print-directory -j$(JOBS) tests
	@for t in $(wildcard t/8[12]-*.t); do \
		echo "torture: $$t"; \
		SALLYPORT_BUILD=$(BUILD) TORTURE_ROUNDS=$(ROUNDS) \
		$(if $(SEED),TORTURE_SEED=$(SEED)) perl -It/lib $$t || exit 1; \
	done

HOOKS := $(wildcard tools/hooks/*)
# An edited PAM service is the operator's and stays.
.PHONY: install
install: $(PROGRAMS)
	install -D -m 0755 -t $(DESTDIR)$(sbindir) $(PROGRAMS)
	install -D -m 0644 -t $(DESTDIR)$(mandir)/man5 $(wildcard man/*.5)
	install -D -m 0644 -t $(DESTDIR)$(mandir)/man8 $(wildcard man/*.8)
	install -D -m 0644 server/fail2ban.conf \
		$(DESTDIR)$(PREFIX)/share/sallyport/fail2ban.conf
	install -D -m 0644 server/sallyport.sysusers \
		$(DESTDIR)$(sysusersdir)/sallyport.conf
	install -d $(DESTDIR)$(hooksdir)
	for hook in $(notdir $(HOOKS)); do \
		sed 's,@sbindir@,$(sbindir),g; s,@hooksdir@,$(hooksdir),g' \
			tools/hooks/$$hook >$(DESTDIR)$(hooksdir)/$$hook && \
		chmod 0755 $(DESTDIR)$(hooksdir)/$$hook || exit 1; \
	done
	install -d $(DESTDIR)$(unitdir)
	sed 's,@sbindir@,$(sbindir),g' server/sallyportd.service \
		>$(DESTDIR)$(unitdir)/sallyportd.service
	sed 's,@sbindir@,$(sbindir),g' tools/sallyport-renew.service \
		>$(DESTDIR)$(unitdir)/sallyport-renew.service
	install -m 0644 tools/sallyport-renew.timer $(DESTDIR)$(unitdir)
	test -e $(DESTDIR)$(pamdir)/sallyport || \
		install -D -m 0644 server/sallyport.pam $(DESTDIR)$(pamdir)/sallyport

.PHONY: format clean
format:
	clang-format -i $(wildcard $(addsuffix /*.[ch],$(PARTS) t/unit t/fuzz t/preload t/bench t/root t/lib))
clean:
	rm -rf $(BUILD)
