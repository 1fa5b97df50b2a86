# Sourced by install.sh and check.sh: the Debian packages that building, running and testing need, and the user that the processes run as.
BUILD_PACKAGES="gcc libc6-dev meson ninja-build pkg-config python3 libssl-dev libnghttp2-dev libsqlite3-dev libyaml-dev libarchive-dev zlib1g-dev
  libzstd-dev libseccomp-dev libnftnl-dev libmnl-dev libcap-dev libargon2-dev linux-libc-dev"
RUN_PACKAGES="crun conmon iproute2 busybox-static ca-certificates"
TEST_PACKAGES="libcap2-bin zstd python3-pytest python3-kubernetes python3-yaml nftables skopeo umoci docker-registry dnsutils curl unzip openssl procps iputils-ping
  libjansson-dev python3-grpcio cppcheck"

# need_packages "a b c": installs those that are missing, and says so.
need_packages() {
  local missing="" p
  for p in $1; do
    dpkg-query -W -f '${Status}\n' "$p" 2>/dev/null | grep -q '^install ok installed$' || missing="$missing $p"
  done
  [ -z "$missing" ] && return 0
  [ "$(id -u)" = 0 ] || { echo "these packages are needed; run as root or install them:$missing" >&2; return 1; }
  echo "installing:$missing"
  DEBIAN_FRONTEND=noninteractive apt-get update -qq
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

need_user() {
  getent passwd sampan >/dev/null || useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin sampan
}
