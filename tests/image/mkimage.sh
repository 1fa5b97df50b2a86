#!/bin/sh
# Makes a docker archive by hand: mkimage.sh OUT.tar NAME ROOTFS [CONFIG-JSON]. The rootfs is a folder, or a tar used as the layer as it is.
set -e
out=$1 name=$2 rootfs=$3 config=${4:-'{"Cmd":["/bin/sh"],"Env":["PATH=/bin"]}'}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -d "$rootfs" ]; then
    tar --format=gnu --owner=0 --group=0 --numeric-owner -C "$rootfs" -cf "$work/layer.tar" .
else
    cp "$rootfs" "$work/layer.tar"
fi
case $(uname -m) in x86_64) arch=amd64 ;; aarch64) arch=arm64 ;; *) arch=arm ;; esac
diff=$(sha256sum < "$work/layer.tar" | cut -d' ' -f1)
printf '{"os":"linux","architecture":"%s","config":%s,"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$arch" "$config" "$diff" > "$work/config.json"
printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$name" > "$work/manifest.json"
tar -C "$work" -cf "$out" manifest.json config.json layer.tar
