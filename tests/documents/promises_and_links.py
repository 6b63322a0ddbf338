# SPDX-License-Identifier: Apache-2.0
"""What is cited exists: promises (I1, R5) that code and documents name, files and headings that documents link to, and the names of
threads, all of them, in the page for whoever looks at them with top -H.

    promises_and_links.py ROOT
"""
import pathlib
import re
import sys

PROMISES = "docs/GUARANTEES.md"
FOLDERS = ("engine", "server", "stress", "tools", "bench", "tests", "examples", "python")
# "(I1)", "I2, I3", "(guarantees I1 to I8)": in comments and messages; a bare letter and digit elsewhere is somebody's variable.
CITED = re.compile(r"\((?:[a-z.\w/]+ )?((?:[IR][1-9](?:, | and | to )?)+)\)|[Gg]uarantees:? ((?:[IR][1-9](?:, | and | to )?)+)")
THREADS = "docs/ROBOT.md"
THREAD_NAMED = re.compile(r'"(chiral-[a-z]+)"(?=\);|, \*this\))')  # name_this_thread("..."); or a HookThread's name
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)")


def promised(text):
    return set(re.findall(r"\*\*([IR][1-9]) ", text))


def anchors(text):
    return {re.sub(r"[^a-z0-9 _-]", "", heading.lower().replace("`", "")).strip().replace(" ", "-")
            for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


def main():
    root = pathlib.Path(sys.argv[1])
    known = promised((root / PROMISES).read_text(encoding="utf-8"))
    wrong, cited, links = [], 0, 0
    for folder in FOLDERS:
        for path in (root / folder).rglob("*.[ch]pp"):
            text = path.read_text(encoding="utf-8")
            if "DESIGN" in text:
                wrong.append(f"{path.relative_to(root)}: cites DESIGN, which is not here; promises are in {PROMISES}")
            for match in CITED.finditer(text):
                for name in re.findall(r"[IR][1-9]", match[1] or match[2]):
                    cited += 1
                    if name not in known:
                        wrong.append(f"{path.relative_to(root)}: cites {name}, which {PROMISES} does not have")
    named = {name for path in (root / "server" / "src").rglob("*.cpp") for name in THREAD_NAMED.findall(path.read_text(encoding="utf-8"))}
    told = set(re.findall(r"^\| [^|]* \| `(chiral-[a-z]+)` \|", (root / THREADS).read_text(encoding="utf-8"), re.MULTILINE))
    if named != told or not named:
        wrong.append(f"{THREADS}: threads named there and not in the code: {sorted(told - named)}; the other way round: {sorted(named - told)}")
    documents = [path for path in root.rglob("*.md") if not {"build", ".git", "node_modules"} & set(path.relative_to(root).parts)]
    for path in documents:
        text = path.read_text(encoding="utf-8")
        for target, anchor in LINK.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
            links += 1
            to = (path.parent / target).resolve() if target else path
            if not to.exists():
                wrong.append(f"{path.relative_to(root)}: links to {target}, which is not there")
            elif anchor and to.suffix == ".md" and anchor not in anchors(to.read_text(encoding="utf-8")):
                wrong.append(f"{path.relative_to(root)}: links to {target}#{anchor}, which has no such heading")
    if len(known) != 15:
        wrong.append(f"{PROMISES} has {len(known)} promises; expected I1 to I8 and R1 to R7")
    print(f"{cited} citations of {len(known)} promises, {links} links in {len(documents)} documents")
    print("\n".join(wrong))
    return 1 if wrong or cited < 10 else 0


if __name__ == "__main__":
    sys.exit(main())
