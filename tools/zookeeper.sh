#!/bin/bash
# Unpacks the jars of a ZooKeeper for the tests into FOLDER: Debian's own packages, downloaded and not installed, as an
# installed one brings a service and a web server along. Does nothing where they are there. Needs apt's lists.
set -euo pipefail

folder=$(realpath -m "${1:?give the folder to unpack into}")
packages=(libzookeeper-java libslf4j-java libdropwizard-metrics-java libsnappy-java)
jars=(zookeeper zookeeper-jute slf4j-api slf4j-simple metrics-core snappy-java)
[ -e "$folder/snappy-java.jar" ] && exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
if ! apt-get download -q "${packages[@]}" >log 2>&1; then # a machine whose lists are gone or old
  $([ "$(id -u)" = 0 ] || echo sudo) apt-get update -q >log 2>&1 || { cat log >&2; exit 1; }
  apt-get download -q "${packages[@]}" >log 2>&1 || { cat log >&2; exit 1; }
fi
for package in *.deb; do dpkg-deb -x "$package" unpacked; done
mkdir -p "$folder"
for jar in "${jars[@]}"; do install -m 644 "unpacked/usr/share/java/$jar.jar" "$folder/$jar.jar"; done
echo "zookeeper: $(ls libzookeeper-java_*.deb | cut -d_ -f2)"
