echo a > a.txt
mkdir -p tree/real/new tree/becomes-folder tree/sticky
echo 1 > tree/real/new/1
echo 2 > tree/real/kept
echo 3 > tree/file
rmdir tree/becomes-folder
chmod 700 tree/sticky
mkdir tree/becomes-file
