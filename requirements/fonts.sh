#!/usr/bin/env bash
# make fonts: brings the fonts of memes anew into memefly/memes/fonts, at the versions below, and tells which has which
# characters (coverage.json). They are the authors' own files: npm's packages of Fontsource part them by script and are
# unpacked here, as HarfBuzz reads no WOFF2; Debian has the emoji as bitmaps. All are under the SIL Open Font License.
set -euo pipefail
cd "$(dirname "$0")/.."
PACKAGES="anton@5.3.0 noto-sans@5.3.0 noto-sans-arabic@5.3.0 noto-sans-hebrew@5.3.0 noto-sans-devanagari@5.3.0
  noto-sans-thai@5.3.0 noto-sans-sc@5.3.0 noto-sans-jp@5.3.0 noto-sans-kr@5.3.0"
OUT=memefly/memes/fonts
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

take() { # the files of package $1 that match the pattern $2, into its folder
  mkdir -p "$OUT/$1"
  rm -f "$OUT/$1"/*
  cp "$work/$1/package/LICENSE" "$OUT/$1/LICENSE"
  find "$work/$1/package/files" -regextype posix-extended -regex ".*/$1-$2\.woff2" -exec cp {} "$OUT/$1/" \;
}

for package in $PACKAGES; do
  name=${package%@*}
  mkdir -p "$work/$name"
  (cd "$work/$name" && npm pack --silent "@fontsource/$package" > /dev/null && tar xf ./*.tgz)
done
take anton '(latin|latin-ext|vietnamese)-400-normal'
take noto-sans '(latin|latin-ext|vietnamese|cyrillic|cyrillic-ext|greek|greek-ext)-900-normal'
take noto-sans-arabic '(arabic|symbols|math)-900-normal'
take noto-sans-hebrew 'hebrew-900-normal'
take noto-sans-devanagari 'devanagari-900-normal'
take noto-sans-thai 'thai-900-normal'
for script in sc jp kr; do take noto-sans-$script '[0-9]+-900-normal'; done

(cd "$work" && apt-get download -qq fonts-noto-color-emoji && dpkg-deb -x ./fonts-noto-color-emoji_*.deb emoji)
mkdir -p "$OUT/noto-color-emoji"
cp "$work/emoji/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf" "$OUT/noto-color-emoji/"
cp "$work/emoji/usr/share/doc/fonts-noto-color-emoji/copyright" "$OUT/noto-color-emoji/LICENSE"

.venv/bin/python - "$OUT" <<'PY'
import json
import sys
from pathlib import Path

from fontTools.ttLib import TTFont

out, told = Path(sys.argv[1]), {}
for packed in sorted(out.rglob("*.woff2")):
    font = TTFont(packed)
    font.flavor = None
    font.save(packed.with_suffix(".ttf"))
    packed.unlink()
for path in sorted(out.rglob("*.ttf")):
    ranges: list[list[int]] = []
    for code in sorted(TTFont(path, lazy=True)["cmap"].getBestCmap()):
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    said = " ".join(f"{first:x}" if first == last else f"{first:x}-{last:x}" for first, last in ranges)
    told[path.relative_to(out).as_posix()] = said
(out / "coverage.json").write_text(json.dumps(told, indent=0) + "\n")
print(f"{len(told)} files")
PY
