#!/bin/sh
# make install: programs that run from where they are put, a manual page for each, units that name what is there.
cd "$(dirname "$0")/../.." || exit 2
dir=$(mktemp -d /tmp/mqfs-install-XXXXXX) || exit 2
trap 'rm -rf "$dir"' EXIT
n=0

# is STATUS WHAT: one test
is() {
	n=$((n + 1))
	if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; sed 's/^/# /' "$dir/log"; fi
}

env -u MAKEFLAGS -u MAKELEVEL make -s install DESTDIR="$dir/root" PREFIX=/usr >"$dir/log" 2>&1
is $? 'make install with DESTDIR and PREFIX'
(cd "$dir/root" && find . -type f | sort) >"$dir/log"
cat >"$dir/want" <<'LIST'
./etc/mqfs/broker.conf
./usr/bin/mqadmin
./usr/bin/mqbroker
./usr/bin/mqfsck
./usr/bin/mqnamesrv
./usr/lib/systemd/system/mqbroker.service
./usr/lib/systemd/system/mqnamesrv.service
./usr/share/man/man8/mqadmin.8
./usr/share/man/man8/mqbroker.8
./usr/share/man/man8/mqfsck.8
./usr/share/man/man8/mqnamesrv.8
LIST
cmp -s "$dir/want" "$dir/log"
is $? 'programs, manual pages and units, and nothing else'

echo brokerName=mine >"$dir/root/etc/mqfs/broker.conf"
env -u MAKEFLAGS -u MAKELEVEL make -s install DESTDIR="$dir/root" PREFIX=/usr >"$dir/log" 2>&1
grep -q mine "$dir/root/etc/mqfs/broker.conf"
is $? 'a second installation leaves the configuration alone'
"$dir/root/usr/bin/mqbroker" -c tools/systemd/broker.conf -p >"$dir/log" 2>&1
is $? 'the broker takes the configuration that is installed'

for p in mqbroker mqnamesrv; do
	"$dir/root/usr/bin/$p" -p >"$dir/log" 2>&1 && grep -qi listenPort "$dir/log"
	is $? "the installed $p prints its configuration"
done
for u in "$dir"/root/usr/lib/systemd/system/*.service; do
	sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$u" >"$dir/log"
	read -r program <"$dir/log" && [ -x "$dir/root$program" ] && ! grep -q @ "$u"
	is $? "$(basename "$u") starts what was installed"
	! grep -q ExecStartPre "$u"		# mkdir fails on the stale mount of a killed broker, which then would never start again
	is $? '... and needs nothing before it'
done
if command -v man >/dev/null; then
	for page in "$dir"/root/usr/share/man/man8/*.8; do
		LC_ALL=C MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>"$dir/log" >/dev/null
		[ ! -s "$dir/log" ]
		is $? "$(basename "$page") is formatted without a warning"
	done
fi
echo "1..$n"
