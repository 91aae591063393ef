echo a > a.txt
ln -s a.txt to-file
mkdir -p folder links hard
echo f > folder/f
ln -s folder to-folder
ln -s ../a.txt links/relative
ln -s /etc/passwd links/absolute
ln -s nowhere links/dangling
ln -s .. links/up
ln -s links links/self
echo h > hard/1
ln hard/1 hard/2
mkdir hard/sub
ln hard/1 hard/sub/3
