#!/usr/bin/env bash
# Debian packages that the system tests and the demo use (or those named as arguments). Installs what is missing when
# this machine may install; otherwise says what will be skipped. Never fails: the tests say what they skipped.
set -u
missing=("$@")
if [ "$#" = 0 ]; then
  declare -A wanted=(
    [mosquitto]=mosquitto [mosquitto_pub]=mosquitto-clients [mbpoll]=mbpoll [gcc]=gcc
    [socat]=socat [npm]=npm [openssl]=openssl [ip]=iproute2 [tmux]=tmux [strace]=strace [kubectl]=kubernetes-client [tinyproxy]=tinyproxy [nginx]=nginx-light [snmpd]=snmpd [curl]=curl
    [prometheus]=prometheus [influxd]=influxdb
    [kdig]=knot-dnsutils [knotd]=knot [nsd]=nsd [named]=bind9 [gdnsd]=gdnsd [pdns_server]=pdns-backend-bind [delv]=bind9-dnsutils [drill]=ldnsutils [dnsviz]=dnsviz [zonemaster-cli]=zonemaster-cli [ldns-verify-zone]=ldnsutils [unbound]=unbound [dnsperf]=dnsperf [nft]=nftables [conntrack]=conntrack [haproxy]=haproxy [sysctl]=procps [dnsmasq]=dnsmasq-base [systemd-socket-activate]=systemd
    [containerd]=containerd [runc]=runc [iptables]=iptables [docker-registry]=docker-registry
  )
  for command in "${!wanted[@]}"; do
    command -v "$command" >/dev/null 2>&1 || [ -x "/usr/sbin/$command" ] || missing+=("${wanted[$command]}")
  done
  command -v initdb >/dev/null 2>&1 || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
  [ -e /usr/include/modbus/modbus.h ] || missing+=(libmodbus-dev)
  [ -e /usr/include/stdio.h ] || missing+=(libc6-dev)
  [ -x /usr/lib/cni/bridge ] || missing+=(containernetworking-plugins)
  # Images of containers are made of it: it needs no library.
  [ -x /bin/busybox ] && ! ldd /bin/busybox >/dev/null 2>&1 || missing+=(busybox-static)
  # A mapper of KubeEdge's in Go, with Google's gRPC.
  for package in golang-go golang-google-grpc-dev golang-goprotobuf-dev protobuf-compiler; do
    dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
  done
fi
[ "${#missing[@]}" = 0 ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
  echo "not installed here, and this user may not install them: ${missing[*]} (tests that need them are skipped)"
  exit 0
fi
echo "installing Debian packages: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# A broker that the package starts would listen on this machine's port; the tests start their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' > "$policy" && chmod +x "$policy"
fi
{ apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >/dev/null 2>&1 ||
  for package in "${missing[@]}"; do
    apt-get install -y -qq --no-install-recommends "$package" >/dev/null 2>&1 || echo "could not install $package"
  done
exit 0
