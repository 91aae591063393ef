mkdir -p tree/sub/deeper
for f in a.txt b.txt; do echo "$f" > "$f"; done
for f in keep.c README.md note.txt sub/secret sub/other.md sub/deeper/x.txt sub/deeper/y; do echo "$f" > "tree/$f"; done
mkdir -p equal
cp -a tree equal/tree
rm equal/tree/README.md equal/tree/sub/secret
cp -a tree equal/added
rm equal/added/note.txt equal/added/sub/deeper/x.txt
