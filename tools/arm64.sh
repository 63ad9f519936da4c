#!/bin/sh
# A tree of Debian's packages for arm64, FOLDER/root, to compile against and to run in an emulator, and FOLDER/lua5.4,
# which runs its Lua: tools/arm64.sh FOLDER PACKAGE ...
# The packages come with all they depend on, by apt with lists of its own: what the machine has installed, and which
# architectures it knows, stays as it is. Does nothing when the folder was made of the same packages.
set -eu

folder=$1
shift
[ "$(cat "$folder/packages" 2>/dev/null)" != "$*" ] || exit 0
command -v apt-get >/dev/null 2>&1 || { echo "moonseek: this needs Debian's apt-get" >&2; exit 1; }

rm -rf "$folder"
mkdir -p "$folder/apt/sources" "$folder/apt/lists/partial" "$folder/apt/archives/partial" "$folder/root"
folder=$(cd "$folder" && pwd)
: >"$folder/apt/status"

# Debian's own sources among those that the machine has; others need not know the architecture.
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
  ! grep -qs '/debian' "$file" || cp "$file" "$folder/apt/sources"
done

apt () {
  apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Install-Recommends=false \
    -o APT::Sandbox::User=root -o Debug::NoLocking=true -o Dir::Etc::sourcelist=/dev/null \
    -o Dir::Etc::sourceparts="$folder/apt/sources" -o Dir::State="$folder/apt" \
    -o Dir::State::status="$folder/apt/status" \
    -o Dir::Cache="$folder/apt" "$@"
}
echo "moonseek: fetching for arm64: $*"
apt update
apt --yes --download-only install "$@" >/dev/null
for package in "$folder"/apt/archives/*.deb; do dpkg-deb --extract "$package" "$folder/root"; done
rm -rf "$folder/apt"

# Specs start the interpreter again by the name it was started with.
cat >"$folder/lua5.4" <<END
#!/bin/sh
exec qemu-aarch64 -0 "\$0" -L '$folder/root' '$folder/root/usr/bin/lua5.4' "\$@"
END
chmod +x "$folder/lua5.4"
echo "$*" >"$folder/packages"
