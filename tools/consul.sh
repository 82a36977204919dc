#!/bin/bash
# Unpacks a Consul for the tests and the demo into FOLDER: Debian 11's package, one binary that runs on Debian 12.
# Fetched through the machine's own apt sources with their suite replaced; the machine's sources stay as they are.
# Does nothing where FOLDER/consul exists. Users bring their own Consul: this one is for development only.
set -euo pipefail

folder=$(realpath -m "${1:?give the folder to unpack into}")
suite=bullseye
[ -x "$folder/consul" ] && exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/sources"

# The security and updates suites have no consul: only the entries of the main archive are kept.
for source in /etc/apt/sources.list.d/*.sources; do
  [ -f "$source" ] || continue
  awk -v suite="$suite" 'BEGIN { RS = ""; ORS = "\n\n" } !/-security/ { sub(/Suites:[^\n]*/, "Suites: " suite); print }' \
    "$source" >"$work/sources/$(basename "$source")"
done
for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
  [ -f "$list" ] || continue
  sed -nE "/-(security|updates|backports)/!s/^(deb( \[[^]]*\])? [^ ]+) [^ ]+/\1 $suite/p" "$list" \
    >"$work/sources/$(basename "$list")"
done

options=(-o "Dir::Etc::sourcelist=/dev/null" -o "Dir::Etc::sourceparts=$work/sources" -o "Dir::State::lists=$work/lists"
  -o "Dir::Cache=$work/cache" -o "APT::Get::List-Cleanup=0")
apt-get "${options[@]}" update -q >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
cd "$work"
apt-get "${options[@]}" download consul >>"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
dpkg-deb -x consul_*.deb "$work/unpacked"
mkdir -p "$folder"
install -m 755 "$work/unpacked/usr/bin/consul" "$folder/consul"
"$folder/consul" version | head -1
