# Sourced by tools/run and tools/test: installs what is missing, and only that.
# A need is COMMAND:PACKAGE or FILE:PACKAGE (with a slash in it): when the command
# or file is there, whoever provides it will do, and nothing is installed.

build_needs="make:make cc:gcc /usr/include/stdio.h:libc6-dev pkg-config:pkg-config
 /usr/include/uv.h:libuv1-dev /usr/include/zlib.h:zlib1g-dev /usr/include/libdeflate.h:libdeflate-dev /usr/include/ini.h:libinih-dev
 /usr/include/archive.h:libarchive-dev /usr/include/uthash.h:uthash-dev
 /usr/include/fuse3/fuse_lowlevel.h:libfuse3-dev fusermount3:fuse3"

test_needs="$build_needs prove:perl setpriv:util-linux ps:procps ip:iproute2 rsync:rsync vim.tiny:vim-tiny zstd:zstd /usr/sbin/mkfs.btrfs:btrfs-progs"

client_needs="/etc/ssl/certs/ca-certificates.crt:ca-certificates javac:openjdk-17-jdk-headless mvn:maven go:golang-go node:nodejs npm:npm"

have() {
	case $1 in
	*/*) [ -e "$1" ] ;;
	*) command -v "$1" >/dev/null 2>&1 ;;
	esac
}

# missing NEED...: the packages that are not there
missing() {
	for need; do
		have "${need%%:*}" || printf '%s ' "${need#*:}"
	done
}

# install_needs NEED...: returns when all are there, or ends the script with the command to type
install_needs() {
	packages=$(missing "$@")
	packages=${packages% }
	[ -n "$packages" ] || return 0
	# shellcheck disable=SC2086 # a list of packages
	if [ "$(id -u)" = 0 ]; then
		as_root=
	elif command -v sudo >/dev/null 2>&1 && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
		as_root='sudo'		# which asks for the password at a terminal
	else
		su='su -c'
		! command -v sudo >/dev/null 2>&1 || su='sudo sh -c'
		echo "$0: packages are missing. Type this, then start $0 again:" >&2
		echo "  $su 'apt-get update && apt-get install -y --no-install-recommends $packages'" >&2
		exit 1
	fi
	echo "$0: installing $packages"
	# shellcheck disable=SC2086
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
		$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null || {
		echo "$0: apt-get could not install: $packages" >&2
		exit 1
	}
}
