#!/bin/sh
# Sees to what Cargo does not: Verilator, a C++ compiler, the libraries of Verilator's trace writer, and the packages
# that are named as arguments, each with a program of its name but for python3-venv. Installs the distribution's packages for what is missing. Silent when nothing is;
# status 2 where something stays missing.
set -efu
also=$*
# Standard output is for the results of what comes after.
exec >&2

oldest=5.006 # Debian 12's

stop() {
    printf 'setup: %s\n' "$@"
    exit 2
}

# Sets `path` and `version` (empty where it doesn't tell), or nothing where there is no Verilator.
find_verilator() {
    path= version= major= minor=
    if [ -n "${VERILATOR-}" ]; then
        path=$(command -v -- "$VERILATOR") || stop "VERILATOR=$VERILATOR is no program"
    else
        path=$(command -v verilator) || return 0
    fi
    answer=$("$path" --version 2>&1) || stop "$path --version fails:" "$answer"
    # As `Verilator 5.006 2023-01-22 rev (Debian 5.006-3)`.
    set -- $answer
    while [ $# -gt 0 ] && [ "$1" != Verilator ]; do shift; done
    case ${2-} in
        *[!0-9.]* | *.*.* | .* | *.) return ;;
        *.*) version=$2 major=${2%.*} minor=${2#*.} ;;
        *) return ;;
    esac
    # The shell takes 008 for an octal number.
    while [ "$minor" != "${minor#0?}" ]; do minor=${minor#0}; done
}

# Whether it is older than the release that is given.
older_than() {
    [ "$major" -lt "$1" ] || { [ "$major" -eq "$1" ] && [ "$minor" -lt "$2" ]; }
}

# Whether C++ that includes the headers named compiles.
compiles() {
    printf '#include <%s>\n' "$@" | ${CXX:-c++} -std=gnu++17 -fsyntax-only -x c++ - 2>/dev/null
}

# Sets `packages` to what is missing.
look() {
    packages=
    compiles zlib.h &
    find_verilator
    if ! wait $!; then
        packages=' zlib1g-dev'
        if ! compiles cstdint; then
            [ -z "${CXX-}" ] || stop "CXX=$CXX does not compile C++17"
            packages=' g++ zlib1g-dev'
        fi
    fi
    if [ -z "$path" ]; then
        packages=" verilator$packages"
    elif [ -n "$version" ] && older_than 5 6; then
        stop "$path is Verilator $version, but $oldest or later is needed" \
            "name another one: make VERILATOR=/path/to/verilator"
    # Releases after 5.032 have another trace writer, not all of them. To ask costs as much as all the rest.
    elif { [ -z "$version" ] || ! older_than 5 33; } && ! compiles lz4.h \
        && [ -d "$("$path" --getenv VERILATOR_ROOT)/include/fstcpp" ]; then
        packages="$packages liblz4-dev"
    fi
    for package in $also; do
        case $package in
            python3-venv) python3 -c 'import ensurepip, venv' 2>/dev/null ;;
            *) command -v "$package" >/dev/null ;;
        esac || packages="$packages $package"
    done
}

# Installs `packages`.
install_packages() {
    install="install -y --no-install-recommends$packages"
    by_hand="apt-get update && apt-get $install"
    command -v apt-get >/dev/null || stop "missing:$packages (Debian's names); no apt-get here to install it with"
    sudo=
    if [ "$(id -u)" -ne 0 ]; then
        sudo=sudo
        [ -t 0 ] || sudo='sudo -n'
        command -v sudo >/dev/null && $sudo true || stop "missing:$packages; install it as root:" "    $by_hand"
    fi
    echo "setup: installing$packages"
    apt $install || { apt update && apt $install; } || stop "that failed; to try again as root:" "    $by_hand"
}

apt() {
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 "$@"
}

command -v cargo >/dev/null || stop 'cargo not found; install Rust: https://rustup.rs'
look
tried=
# Twice where the Verilator just installed needs lz4.
while [ -n "$packages" ]; do
    [ "$packages" != "$tried" ] || stop "installed, but still missing:$packages"
    tried=$packages
    install_packages
    look
done
[ -n "$version" ] || echo "setup: warning: $path does not tell its version; taken for $oldest or later"
