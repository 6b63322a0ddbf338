# SPDX-License-Identifier: Apache-2.0
"""Nothing grows beyond what one can keep in mind: no function over 60 lines, no file over 450, no class over 25 data members.

    sizes.py ROOT

A heuristic that reads text, and relies on the layout that clang-format gives: a function is a block whose opening line stands
at namespace or class level and has a parenthesis. Files and functions of tests are not counted. EXCEPTIONS are named with the reason.
"""
import pathlib
import re
import sys

FOLDERS = ("engine", "server/include", "server/src", "stress", "bench", "tools", "examples", "python/src", "tests/support")
MOST_LINES_OF_FUNCTION, MOST_LINES_OF_FILE, MOST_MEMBERS = 60, 450, 25
EXCEPTIONS = {
    # what: why
    "stress/options.cpp: parse_options": "one line for each option, in the order of --help",
    "tools/serve.cpp: parse": "one line for each option, in the order of --help",
    "server/src/http/metrics.cpp: metrics_text": "one line for each metric",
    "server/include/chiral/options.hpp: ServerOptions": "one member for each option, independent of the others",
}
STRINGS = re.compile(r'R"(\w*)\(.*?\)\1"|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)+\'|//[^\n]*|/\*.*?\*/', re.DOTALL)
NAMESPACE = re.compile(r"^(?:inline )?namespace\b|^extern ")
CLASS = re.compile(r"^(?:template\b.*>\s*)?(?:class|struct)\b(?!.*[;(]).*?(\w+)(?:\s+final)?\s*(?::[^:].*)?\{$")
FUNCTION_NAME = re.compile(r"([~\w:]+|operator\S+)\s*\(")


def without_strings(text: str) -> str:
    """The same lines, with strings and comments blank."""
    return STRINGS.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def blocks(text: str):
    """(kind, name, first line, last line, lines directly inside) of every class and function; kind by its opening line."""
    lines = without_strings(text).split("\n")
    stack = []  # (kind, name, first line, body)
    statement, begin = "", 0
    for number, line in enumerate(lines, 1):
        for char in line:
            if char == "{":
                head = " ".join(statement.split()) + " {"
                outer = stack[-1][0] if stack else "namespace"
                if NAMESPACE.search(head):
                    kind, name = "namespace", ""
                elif outer in ("namespace", "class") and CLASS.search(head) and "enum" not in head.split():
                    kind, name = "class", CLASS.search(head)[1]
                elif outer in ("namespace", "class") and "(" in head and "=" not in head.split("(")[0]:
                    found = FUNCTION_NAME.search(head)
                    kind, name = "function", found[1] if found else head
                else:
                    kind, name = "inner", ""
                stack.append([kind, name, begin or number, []])
                statement, begin = "", 0
            elif char == "}":
                if not stack:
                    continue
                kind, name, first, body = stack.pop()
                yield kind, name, first, number, body
                if stack and kind == "inner" and stack[-1][0] == "class":
                    statement += "{}"  # an initialiser: the declaration goes on
                else:
                    statement, begin = "", 0
            elif char == ";":
                if stack:
                    stack[-1][3].append(" ".join(statement.split()))
                statement, begin = "", 0
            else:
                statement += char
                if not begin and not char.isspace():
                    begin = number
        statement += " "
        if line.lstrip().startswith("#") or re.match(r"\s*(public|private|protected):\s*$", line):
            statement, begin = "", 0


def is_data_member(declaration: str) -> bool:
    declaration = re.sub(r"^(public|private|protected):\s*", "", declaration)
    if not declaration or re.match(r"(using|friend|static|typedef|template|enum|class \w+$|struct \w+$|constexpr)\b", declaration):
        return False
    before = re.split(r"=|\{", declaration)[0]
    without_templates = before
    while (shorter := re.sub(r"<[^<>]*>", "", without_templates)) != without_templates:
        without_templates = shorter
    return "(" not in without_templates.replace("(*", "") and "operator" not in without_templates


def members(body: list[str]) -> int:
    # "double a, b;" are two; commas in templates and initialisers are none.
    count = 0
    for declaration in filter(is_data_member, body):
        plain = declaration
        while (shorter := re.sub(r"<[^<>]*>|\{[^{}]*\}|\([^()]*\)|\[[^\[\]]*\]", "", plain)) != plain:
            plain = shorter
        count += 1 + plain.count(",")
    return count


def too_large(name: str, text: str):
    lines = text.count("\n")
    if lines > MOST_LINES_OF_FILE:
        yield name, f"has {lines} lines; at most {MOST_LINES_OF_FILE}"
    for kind, block, first, last, body in blocks(text):
        if kind == "function" and last - first + 1 > MOST_LINES_OF_FUNCTION:
            yield f"{name}: {block}", f"has {last - first + 1} lines, from line {first}; at most {MOST_LINES_OF_FUNCTION}"
        if kind == "class" and members(body) > MOST_MEMBERS:
            yield f"{name}: {block}", f"has {members(body)} data members, from line {first}; at most {MOST_MEMBERS}"


SAMPLE = """namespace a {
class Large : public Base {
public:
    void one(int x) { use(x); }
%s
};
int long_one(int x) {
%s
}
}
"""


def counts_what_it_should() -> bool:
    sample = SAMPLE % ("\n".join(f"    std::map<int, int> member{i}_{{{i}}};" for i in range(26)),
                       "\n".join("    if (x) { --x; }" for _ in range(60)))
    found = dict(too_large("sample", sample))
    return set(found) == {"sample: Large", "sample: long_one"} and "has 26" in found["sample: Large"]


def main() -> int:
    root = pathlib.Path(sys.argv[1])
    if not counts_what_it_should():
        print("this script no longer finds what it looks for")
        return 1
    found, count = {}, 0
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.[ch]pp")):
            count += 1
            found |= dict(too_large(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")))
    wrong = [f"{what} {why}" for what, why in found.items() if what not in EXCEPTIONS]
    wrong += [f"{what} is no longer too large: not an exception" for what in EXCEPTIONS if what not in found]
    print(f"{count} files, {len(EXCEPTIONS)} exceptions")
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
