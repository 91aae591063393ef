mkdir -p sub/one/deep sub/two/other docs/inner node_modules/wanted node_modules/other pkg/node_modules/wanted rooted keep/rooted a/b/c temp
for f in a.log keep.log sub/b.log rooted/f keep/rooted/f sub/one/deep/f sub/two/other/f node_modules/wanted/f node_modules/other/f \
  node_modules/f pkg/node_modules/f pkg/node_modules/wanted/f pkg/f temp1 temp22 temp/f docs/readme.md docs/other.md docs/inner/x \
  spaced x.txt y.txt z.txt sub/x.txt one.bak sub/two.bak a/z a/b/z a/b/c/z a/b/c/y '#hash' .hidden; do echo "$f" > "$f"; done
# Latin-1, which git would not keep
touch "$(printf 'caf\351')"; printf 'caf\351\n' >> .dockerignore
