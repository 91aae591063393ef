echo 1 > 'with space.txt'
mkdir -p tree/empty tree/nested/empty/too 'tree/a folder'
echo 2 > 'tree/[bracket].txt'
echo 3 > tree/.hidden
echo 4 > tree/..twodots
echo 5 > 'tree/a folder/new
line'
echo 6 > 'tree/Straße-日本-🚢'
echo 7 > 'tree/quote"and'\''back\slash'
echo 8 > 'tree/trailing space '
echo 9 > 'tree/-dash'
echo 10 > 'tree/$dollar*star?'
name=$(printf 'n%.0s' $(seq 1 200))
echo 11 > "tree/$name"
path=deep
for i in $(seq 1 25); do path=$path/level-$i-of-a-deep-tree; done
mkdir -p "$path"
echo 12 > "$path/bottom"
: > tree/zero
