#!/bin/sh
# The tables in docs/ are what the program's tables say.
cd "$(dirname "$0")/../.."
if "${MQ_BUILD:-build}"/mqdocs --check docs >/dev/null 2>&1; then echo "ok 1 - docs are what the tables say"
else echo "not ok 1 - docs are what the tables say"; "${MQ_BUILD:-build}"/mqdocs --check docs 2>&1 | sed 's/^/# /'; fi
if grep -rnE '\]\([a-z]+\.md' docs README.md | sed 's/.*](\([a-z]*\.md\).*/\1/' | sort -u | while read -r p; do [ -f "docs/$p" ] || echo "$p"; done | grep .; then
	echo "not ok 2 - links between pages lead somewhere"
else echo "ok 2 - links between pages lead somewhere"; fi
echo 1..2
