"""Reads the names of folders, a JSON text a line, and prints, as a line of JSON each, the file tree of the image that is there in skopeo's
dir: format and its config. Layers are applied in memory by the rules of the
OCI image spec (layer.md), with the standard library alone: an opinion independent of the code under test and of every builder."""

import bz2
import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile


def text(name):
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def opened(path):
    with open(path, "rb") as file:
        magic = file.read(6)
    if magic[:2] == b"\x1f\x8b":
        return gzip.open(path, "rb")
    if magic[:3] == b"BZh":
        return bz2.open(path, "rb")
    if magic[:4] == b"\x28\xb5\x2f\xfd":
        return subprocess.Popen(["zstd", "-dc", path], stdout=subprocess.PIPE).stdout
    return open(path, "rb")


class Hashed(io.RawIOBase):
    """Passes a stream on and keeps the digest of all that went through."""

    def __init__(self, source):
        self.source, self.hash, self.size = source, hashlib.sha256(), 0

    def readable(self):
        return True

    def readinto(self, buffer):
        data = self.source.read(len(buffer))
        self.hash.update(data)
        self.size += len(data)
        buffer[: len(data)] = data
        return len(data)


class Tree:
    def __init__(self):
        self.nodes = {"": {"type": "dir", "mode": 0o755, "uid": 0, "gid": 0}}
        self.children = {"": set()}
        self.notes = []

    def remove(self, path):
        """Takes a path and all below it away."""
        for name in list(self.children.get(path, ())):
            self.remove(f"{path}/{name}" if path else name)
        self.children.pop(path, None)
        if path in self.nodes:
            del self.nodes[path]
            parent, _, name = path.rpartition("/")
            self.children.get(parent, set()).discard(name)

    def resolve(self, folder, layer, depth=0):
        """Follows symbolic links among the parents of an entry, inside the root."""
        if depth > 40:
            raise SystemExit(f"{folder}: too many links")
        done = ""
        parts = [p for p in folder.split("/") if p]
        for index, part in enumerate(parts):
            here = f"{done}/{part}" if done else part
            node = self.nodes.get(here)
            if node and node["type"] == "symlink":
                self.notes.append(f"layer {layer}: {text(folder)}: an entry lies below the symbolic link {text(here)}")
                target = node["link"]
                base = "" if target.startswith("/") else done
                joined = os.path.normpath("/" + base + "/" + target).lstrip("/")
                return self.resolve("/".join([joined, *parts[index + 1 :]]), layer, depth + 1)
            done = here
        return done

    def replaced(self, path, folders):
        """Whether the path lies in one of the folders that takes the place of something else, such as a link: nothing below shows there."""
        while path:
            if path in folders and path in self.nodes and self.nodes[path]["type"] != "dir":
                return True
            path = path.rpartition("/")[0]
        return False

    def put(self, path, node, layer):
        parent, _, name = path.rpartition("/")
        if path and parent not in self.nodes:
            self.notes.append(f"layer {layer}: {text(path)}: parent folder is in no layer")
            self.put(parent, {"type": "dir", "mode": 0o755, "uid": 0, "gid": 0}, layer)
        old = self.nodes.get(path)
        if old and old["type"] == "dir" and node["type"] == "dir":
            self.nodes[path] = node
            return
        if path and parent in self.nodes and self.nodes[parent]["type"] != "dir":
            self.notes.append(f"layer {layer}: {text(path)}: parent is no folder")
        if old:
            self.remove(path)
        self.nodes[path] = node
        if path:
            self.children.setdefault(parent, set()).add(name)
        if node["type"] == "dir":
            self.children.setdefault(path, set())


def clean(name):
    path = os.path.normpath("/" + name).lstrip("/")
    return "" if path == "." else path


def apply(tree, path, number):
    raw = Hashed(opened(path))
    seen = set()
    entries = []
    with tarfile.open(fileobj=io.BufferedReader(raw, 1 << 20), mode="r|", errors="surrogateescape") as archive:
        for member in archive:
            node = {"mode": member.mode & 0o7777, "uid": member.uid, "gid": member.gid}
            name = clean(member.name)
            if ".." in member.name.split("/"):
                tree.notes.append(f"layer {number}: {text(member.name)}: climbs")
            if name in seen:
                tree.notes.append(f"layer {number}: {text(name)}: twice in one layer")
            seen.add(name)
            prefix = "SCHILY.xattr."
            xattrs = {
                key[len(prefix) :]: value.encode("utf-8", "surrogateescape").hex()
                for key, value in member.pax_headers.items()
                if key.startswith(prefix)
            }
            if xattrs:
                node["xattrs"] = xattrs
            if member.isdir():
                node["type"] = "dir"
            elif member.issym():
                node.update(type="symlink", link=member.linkname)
            elif member.islnk():
                node = {"type": "hardlink", "to": clean(member.linkname)}
            elif member.ischr() or member.isblk():
                node.update(type="char" if member.ischr() else "block", device=f"{member.devmajor}:{member.devminor}")
            elif member.isfifo():
                node["type"] = "fifo"
            elif member.isreg():
                digest, size, source = hashlib.sha256(), 0, archive.extractfile(member)
                while chunk := source.read(1 << 20):
                    digest.update(chunk)
                    size += len(chunk)
                node.update(type="file", size=size, sha256=digest.hexdigest())
            else:
                raise SystemExit(f"layer {number}: {text(member.name)}: unknown entry type {member.type!r}")
            entries.append((name, node))
    while raw.read(1 << 20):
        pass
    # Whiteouts speak of the layers below alone, wherever in the tar they stand.
    folders = {name for name, node in entries if node["type"] == "dir"}
    for name, node in entries:
        parent, _, base = name.rpartition("/")
        if base.startswith(".wh."):
            if tree.replaced(parent, folders):
                continue
            where = tree.resolve(parent, number)
            if base == ".wh..wh..opq":
                for child in list(tree.children.get(where, ())):
                    tree.remove(f"{where}/{child}" if where else child)
            elif not base.startswith(".wh..wh."):
                gone = base[len(".wh.") :]
                target = f"{where}/{gone}" if where else gone
                if target not in tree.nodes:
                    tree.notes.append(f"layer {number}: {text(target)}: whiteout of nothing")
                tree.remove(target)
    for name, node in entries:
        parent, _, base = name.rpartition("/")
        if base.startswith(".wh."):
            continue
        where = tree.resolve(parent, number)
        target = f"{where}/{base}" if where else base
        if node["type"] == "hardlink":
            folder, _, last = node["to"].rpartition("/")
            folder = tree.resolve(folder, number)
            to = f"{folder}/{last}" if folder else last
            if to not in tree.nodes:
                raise SystemExit(f"layer {number}: {text(target)}: hard link to {text(to)}, which does not exist")
            node = tree.nodes[to]
        tree.put(target, node, number)
    return {"diffId": "sha256:" + raw.hash.hexdigest(), "size": raw.size, "entries": [text(name) for name, _ in entries]}


def image(folder):
    with open(f"{folder}/manifest.json", encoding="utf-8") as file:
        manifest = json.load(file)
    with open(f"{folder}/{manifest['config']['digest'].split(':')[1]}", encoding="utf-8") as file:
        config = json.load(file)
    tree, layers = Tree(), []
    for number, layer in enumerate(manifest["layers"]):
        layers.append(apply(tree, f"{folder}/{layer['digest'].split(':')[1]}", number))
    groups = {}
    for path, node in tree.nodes.items():
        if node["type"] != "dir":
            groups.setdefault(id(node), []).append(path)
    entries = []
    for path in sorted(tree.nodes):
        node = dict(tree.nodes[path])
        if "link" in node:
            node["link"] = text(node["link"])
        group = groups.get(id(tree.nodes[path]), [])
        if len(group) > 1:
            node["hardLinks"] = sorted("/" + text(p) for p in group)
        entries.append({"path": "/" + text(path), **node})
    return {"config": config, "layers": layers, "tree": entries, "notes": tree.notes}


for line in sys.stdin:
    try:
        answer = {"image": image(json.loads(line))}
    except (Exception, SystemExit) as error:
        # One image that cannot be read says so, and the next is read all the same.
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
