# shellcheck shell=bash disable=SC2034
# Sourced by the other scripts. Finds cargo; installs what a build or the tests lack, or says exactly what to install.

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
cache=${POSTROOM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/postroom}
oldest_rust=91 # the minor version that Cargo.toml asks for: 1.91

say() { printf '%s\n' "$*" >&2; }
die() { say "$@"; exit 69; }

# Puts a cargo that works on PATH. A cargo of rustup looks for its toolchains in the home folder of whoever runs it:
# where that is another home than the one it was installed in, it is told where they are.
find_cargo() {
    local cargo version
    if ! cargo=$(command -v cargo); then
        if [[ -x ${HOME:-}/.cargo/bin/cargo ]]; then
            export PATH=$HOME/.cargo/bin:$PATH
            cargo=$HOME/.cargo/bin/cargo
        else
            die "Rust is missing: cargo is not on PATH. Install it from https://rustup.rs (1.$oldest_rust or newer), then run this again."
        fi
    fi
    if [[ -z ${RUSTUP_HOME:-} && ! -d ${HOME:-}/.rustup ]]; then
        local beside
        beside=$(dirname -- "$cargo")/../../.rustup
        if [[ -d $beside/toolchains ]]; then
            RUSTUP_HOME=$(cd -- "$beside" && pwd)
            export RUSTUP_HOME
        fi
    fi
    version=$(cargo --version 2>/dev/null) || die "cargo is on PATH ($cargo) but does not run: $(cargo --version 2>&1 | head -n 1)"
    version=${version#cargo 1.}
    if [[ ${version%%.*} =~ ^[0-9]+$ ]] && ((${version%%.*} < oldest_rust)); then
        die "Rust 1.${version%%.*} is too old: 1.$oldest_rust or newer is needed (rustup update stable)."
    fi
}

# Prints the Debian packages that a build lacks.
lacking_for_build() {
    command -v cc >/dev/null || printf 'gcc '
    command -v g++ >/dev/null || printf 'g++ '
    command -v make >/dev/null || printf 'make '
    if ! command -v pkg-config >/dev/null; then
        printf 'pkg-config '
        [[ -e /usr/include/openssl/ssl.h ]] || printf 'libssl-dev '
    elif ! pkg-config --exists openssl; then
        printf 'libssl-dev '
    fi
}

# Prints the Debian packages that the tests lack beside those of a build.
lacking_for_tests() {
    command -v java >/dev/null || printf 'default-jre-headless '
    command -v openssl >/dev/null || printf 'openssl '
    command -v mvn >/dev/null || printf 'maven '
    command -v chromium >/dev/null || printf 'chromium '
    command -v redis-server >/dev/null || printf 'redis-server '
    compgen -G '/usr/lib/postgresql/*/bin/pg_ctl' >/dev/null || command -v pg_ctl >/dev/null || printf 'postgresql '
    command -v varnishd >/dev/null || printf 'varnish '
    compgen -G '/usr/lib/*/varnish/vmods/libvmod_xkey.so' >/dev/null || printf 'varnish-modules '
    if ! command -v python3 >/dev/null; then
        printf 'python3 python3-venv '
    elif ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        printf 'python3-venv '
    fi
}

# Prints the folder with Prometheus and promtool: those on PATH, else Debian's, unpacked into the cache and not installed,
# since the package would start a server.
prometheus_folder() {
    local found folder=$cache/prometheus
    if found=$(command -v promtool); then
        dirname -- "$found"
        return
    fi
    if [[ ! -x $folder/usr/bin/promtool ]]; then
        rm -rf -- "$folder"
        mkdir -p -- "$folder"
        (cd -- "$folder" && { apt-get download -qq prometheus >&2 || { apt-get update -qq >&2 && apt-get download -qq prometheus >&2; }; } &&
            dpkg -x prometheus_*.deb . && rm -f -- prometheus_*.deb) || die "Debian's package prometheus could not be fetched."
    fi
    printf '%s\n' "$folder/usr/bin"
}

# Installs packages with apt-get where that needs no password; else says what to install and ends.
install_packages() {
    (($# > 0)) || return 0
    local as_root=()
    if ! command -v apt-get >/dev/null; then
        die "Missing, under the names that Debian gives them: $*. Install them, then run this again."
    fi
    if ((EUID != 0)); then
        if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
            as_root=(sudo -n)
        else
            die "Missing: $*. Install with

    sudo apt-get install --no-install-recommends $*

then run this again."
        fi
    fi
    say "Installing with apt-get: $*"
    local log
    log=$(mktemp)
    if ! { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "$@"; } \
        </dev/null >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        die "apt-get could not install: $*"
    fi
    rm -f "$log"
}
