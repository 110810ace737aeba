# mqfs: make            the programs, in build/
#       make check      C and mount tests, under 60 s
#       make test       everything, with the official clients of other languages
#       make soak       the tests of faults at full length: kills, power cuts, damaged files (an hour)
#       make debug      the same programs under ASan+UBSan, in build/debug/
#       make tsan       the C tests under TSan, in build/tsan/ (four minutes)
#       make bench      the measured table, side by side with its floors
#       make docs       the pages that are made from the tables
#       V=1 shows the commands
#       make install    PREFIX=/usr/local DESTDIR=
CC      ?= cc
O       ?= build
Q       := $(if $V,,@)
CFLAGS  ?= -O3 -g
PKGS     = libuv zlib libdeflate fuse3
WARN     = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
           -Wvla -Wformat=2 -Wundef -Wwrite-strings -Wcast-qual -Wno-unused-parameter -Wno-missing-field-initializers -Wno-format-truncation
ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DFUSE_USE_VERSION=314 -I. -pthread \
           $(WARN) $(if $(WERROR)$(CI),-Werror) $(shell pkg-config --cflags $(PKGS)) $(SANITIZE) $(CFLAGS)
ALL_LIBS = $(shell pkg-config --libs $(PKGS)) -linih -larchive -pthread $(SANITIZE)

ROOMS    = common common/remoting store broker namesrv fs tools/admin
SRC      = $(foreach d,$(ROOMS),$(wildcard $d/*.c))
OBJ      = $(SRC:%.c=$O/%.o)
PROGRAMS = $(patsubst tools/%.c,$O/%,$(wildcard tools/*.c))
UNIT     = $(patsubst %.c,$O/%,$(wildcard tests/unit/*.c))
BENCH    = $(patsubst %.c,$O/%,$(wildcard tests/bench/*.c))
FAULT    = $(patsubst %.c,$O/%,$(wildcard tests/fault/*.c))

all: $(PROGRAMS)

$O/libmqfs.a: $(OBJ)
	@rm -f $@
	@ar rcs $@ $(OBJ)

$(PROGRAMS): $O/%: $O/tools/%.o $O/libmqfs.a
	@echo '  LD  $@'
	$Q$(CC) $(LDFLAGS) -o $@ $< $O/libmqfs.a $(ALL_LIBS)

$(UNIT) $(BENCH) $(FAULT): $O/%: $O/%.o $O/libmqfs.a
	@echo '  LD  $@'
	$Q$(CC) $(LDFLAGS) -o $@ $< $O/libmqfs.a $(ALL_LIBS)

$O/%.o: %.c
	@mkdir -p $(@D)
	@echo '  CC  $<'
	$Q$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

unit: $(UNIT)
bench-programs: $(BENCH)
fault-programs: $(FAULT)

debug:
	$(MAKE) O=build/debug CFLAGS="-O1 -g -fno-omit-frame-pointer" SANITIZE="-fsanitize=address,undefined -fno-sanitize-recover=undefined" all unit fault-programs

# Without those that TSan cannot run (a SIGBUS that is left by a jump, threads after a fork) or that change the store's
# inside while its threads run.
TSAN_TESTS = $(filter-out $(addprefix build/tsan/tests/unit/,bus index queue_ext retention schedule),$(patsubst %.c,build/tsan/%,$(sort $(wildcard tests/unit/*.c))))
tsan:
	$(MAKE) O=build/tsan CFLAGS="-O1 -g -fno-omit-frame-pointer -Wno-tsan" SANITIZE="-fsanitize=thread" unit
	$(PROVE) -j$(JOBS) $(TSAN_TESTS)

# ---- tests: TAP, through prove; each on its own ports and directories ----
PROVE    = prove --exec tests/run-one --timer
# one more than cores: many tests wait more than they work
JOBS    ?= $(shell expr $$(nproc) + 1)
C_TESTS  = $(patsubst tests/unit/%.c,build/debug/tests/unit/%,$(sort $(wildcard tests/unit/*.c)))
T_TESTS  = $(sort $(wildcard tests/wire/*.t tests/mount/*.t tests/docs/*.t)) $(addprefix tests/fault/,kill9.t power.t power_forgets.t reports.t)
F_TESTS  = $(filter-out $(T_TESTS),$(sort $(wildcard tests/fault/*.t)))

check: all debug
	MQ_BUILD=build/debug $(PROVE) -j$(JOBS) $(C_TESTS) $(T_TESTS)

clients: all
	tests/clients/setup

test: check clients fault-programs
	$(PROVE) $(sort $(wildcard tests/clients/*.t)) $(F_TESTS)

soak: clients unit fault-programs
	MQ_SOAK=1 $(PROVE) $(sort $(wildcard tests/fault/*.t))

bench: all bench-programs
	@MQ_BUILD=$O tests/bench/run

# ---- what the tables say, as pages ----
docs: all
	$O/mqdocs docs

PREFIX  ?= /usr/local
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system
install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man8 $(DESTDIR)$(UNITDIR) $(DESTDIR)$(SYSCONFDIR)/mqfs
	install -m755 $(filter-out $O/mqdocs,$(PROGRAMS)) $(DESTDIR)$(PREFIX)/bin
	install -m644 $(wildcard docs/man/*.8) $(DESTDIR)$(PREFIX)/share/man/man8
	for u in $(notdir $(wildcard tools/systemd/*.service)); do \
		sed 's|@PREFIX@|$(PREFIX)|;s|@SYSCONFDIR@|$(SYSCONFDIR)|' tools/systemd/$$u >$(DESTDIR)$(UNITDIR)/$$u || exit 1; done
	[ -e $(DESTDIR)$(SYSCONFDIR)/mqfs/broker.conf ] || \
		install -m644 tools/systemd/broker.conf $(DESTDIR)$(SYSCONFDIR)/mqfs/broker.conf

clean:
	rm -rf build

.PHONY: all unit bench-programs fault-programs debug tsan check clients test soak bench docs install clean
.SECONDARY:
-include $(shell find $O -name '*.d' 2>/dev/null)
