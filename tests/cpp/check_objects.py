"""Reads built objects: is code for one instruction set kept apart from all other code?

    python tests/cpp/check_objects.py --build build/test

One source compiled with several sets of -m flags is a trap: of every inline function and template
the linker keeps one copy, and if that is the AVX-512 one, an older CPU dies in code that has
nothing to do with AVX-512. For the objects of the library and of the bindings in a build folder
this checks that

- an ISA object (isa_<name>.o but the generic one) exports its kernel table and nothing else, has no
  weak symbol, and calls a few functions of the C library only,
- its source includes the intrinsics, <cstddef>, <cstdint> and the project's kernel headers, and
  what those standard headers include themselves, and nothing else,
- no other object, and no narrower ISA's, holds a wider instruction,
- the hot loops of the two products keep everything in registers.

Exits with 1 and a list of findings if one of these does not hold.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ISA_OBJECT = re.compile(r"isa_(?!generic)(\w+)\.cpp\.o$")
OBJECT_FOLDERS = ("cpp/CMakeFiles/regard.dir", "cpp/bindings/CMakeFiles/_core.dir")

# Functions of the C library, and the linker's own symbol: none of them is compiled here.
MAY_CALL = {"memcpy", "memmove", "memset", "memcmp", "exp", "exp2", "log", "log2"}
MAY_CALL |= {"_GLOBAL_OFFSET_TABLE_"}

# What an ISA file may include besides the kernel headers.
ALLOWED = """
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif
#include <cstddef>
#include <cstdint>
"""

# Every VEX and EVEX instruction on vectors starts with v; these do too and are older.
OLDER_V = {"verr", "verw", "vmcall", "vmlaunch", "vmresume", "vmxoff"}
# VEX instructions on general registers (BMI1, BMI2).
BMI = {"andn", "bextr", "blsi", "blsmsk", "blsr", "bzhi", "mulx", "pdep", "pext"}
BMI |= {"rorx", "sarx", "shlx", "shrx"}
ZMM = re.compile(r"%zmm|%k[0-7]|%[xy]mm(1[6-9]|2\d|3[01])")

# The widest instructions, as `width` counts them, that an ISA's object may and must hold.
WIDTHS = {"avx512_bf16": 3, "avx512": 2, "avx2": 1}

HOT_FUNCTIONS = ("score_block", "value_block")
# FMAs of the largest register tile, which is the one that matters: at least 8 x 3 and 6 x 2.
HOT_FMAS = {"avx512_bf16": 24, "avx512": 24, "avx2": 12}
LOOP_FMAS = 12


@dataclass(frozen=True)
class Instruction:
    """One line of a disassembly."""

    address: int
    mnemonic: str
    operands: str


@dataclass(frozen=True)
class Tools:
    """Programs to read objects with; those of the target when cross-compiling."""

    nm: str
    objdump: str
    build: Path


def run(*words: str) -> str:
    """Output of a program; its failure is ours."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def symbols(tools: Tools, path: Path) -> list[tuple[str, str]]:
    """(type letter, demangled name) of the symbols of an object; capitals are seen by linking."""
    lines = run(tools.nm, "--demangle", "--format=posix", str(path)).splitlines()
    found = (re.match(r"(.*?) ([A-Za-z])(?: [0-9a-f ]*)?$", line) for line in lines)
    return [(match[2], match[1]) for match in found if match]


def functions(tools: Tools, path: Path) -> Iterator[tuple[str, list[Instruction]]]:
    """(demangled name, instructions) of each function of an object."""
    text = run(tools.objdump, "-d", "-C", "--no-show-raw-insn", str(path))
    name, body = "", []
    for line in text.splitlines():
        if start := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            if body:
                yield name, body
            name, body = start[1], []
        elif code := re.match(r"\s*([0-9a-f]+):\s+(\S+)\s*(.*)$", line):
            body.append(Instruction(int(code[1], 16), code[2], code[3]))
    if body:
        yield name, body


def check_symbols(tools: Tools, path: Path, isa: str) -> Iterator[str]:
    """Only the kernel table is exported, nothing is weak, nothing foreign is called."""
    exported = []
    for letter, name in symbols(tools, path):
        if letter in "WwVvu":
            yield f"{path.name}: {name} is weak: the linker may use it for other CPUs"
        elif letter == "U":
            if name not in MAY_CALL:
                yield f"{path.name}: refers to {name}, which is compiled elsewhere"
        elif letter.isupper():
            exported.append(name)
        elif letter == "t" and "(anonymous namespace)" not in name:
            # The compiler made a copy of its own here; elsewhere it may not.
            yield f"{path.name}: {name} has external linkage in the source"
    if exported != [f"regard::kernels::{isa}_kernels"]:
        yield f"{path.name}: exports {', '.join(exported) or 'nothing'}, not just its kernel table"


def width(instruction: Instruction) -> int:
    """0 for a baseline x86-64 instruction, 1 for AVX and its like, 2 for AVX-512, 3 for BF16."""
    if "bf16" in instruction.mnemonic:
        return 3
    if ZMM.search(instruction.operands):
        return 2
    mnemonic = instruction.mnemonic
    vector = mnemonic.startswith("v") and mnemonic not in OLDER_V
    return 1 if vector or "%ymm" in instruction.operands or mnemonic in BMI else 0


def check_width(tools: Tools, path: Path, allowed: int) -> Iterator[str]:
    """No instruction is wider than the object's name says; an ISA object does use its own."""
    widest = 0
    for name, body in functions(tools, path):
        widest = max([widest, *map(width, body)])
        wide = next((i for i in body if width(i) > allowed), None)
        if wide:
            yield f"{path.name}: {name} holds `{wide.mnemonic} {wide.operands}`"
    if widest < allowed:
        yield f"{path.name}: has no instruction of its own set, so reading it proves nothing"


def loops(body: list[Instruction]) -> Iterator[list[Instruction]]:
    """Innermost loops: what lies between a backward jump and its target."""
    spans = []
    for instruction in body:
        target = re.match(r"([0-9a-f]+) <", instruction.operands)
        if instruction.mnemonic.startswith("j") and target:
            to = int(target[1], 16)
            if body[0].address <= to <= instruction.address:
                spans.append((to, instruction.address))
    for first, last in spans:
        if not any((a, b) != (first, last) and first <= a and b <= last for a, b in spans):
            yield [i for i in body if first <= i.address <= last]


def check_hot_loops(tools: Tools, path: Path, isa: str) -> Iterator[str]:
    """The loops that do the work do not touch the stack: no accumulator is spilled."""
    largest = dict.fromkeys(HOT_FUNCTIONS, 0)
    for name, body in functions(tools, path):
        kind = next((kind for kind in HOT_FUNCTIONS if f"{kind}<" in name), None)
        if kind is None:
            continue
        # %rbp is the frame only where the function sets it up so.
        framed = any((i.mnemonic, i.operands) == ("mov", "%rsp,%rbp") for i in body)
        stack = re.compile(r"\(%r[sb]p" if framed else r"\(%rsp")
        for loop in loops(body):
            fmas = sum(i.mnemonic.startswith(("vfmadd", "vdpbf16ps")) for i in loop)
            if fmas < LOOP_FMAS:
                continue
            largest[kind] = max(largest[kind], fmas)
            spill = next((i for i in loop if stack.search(i.operands)), None)
            if spill:
                short = re.sub(r"\(anonymous namespace\)::|regard::kernels::", "", name)
                short = short.partition("(")[0].removeprefix("void ")
                yield f"{path.name}: {short} spills: `{spill.mnemonic} {spill.operands}`"
    for kind, fmas in largest.items():
        if fmas < HOT_FMAS[isa]:
            yield f"{path.name}: no loop of {kind} has {HOT_FMAS[isa]} FMAs (most: {fmas})"


def includes(command: list[str], source: str, text: str | None = None) -> set[Path]:
    """Files that compiling `source` reads; `text` stands for what is piped in when it is '-'."""
    flags = [word for word in command[1:] if not word.endswith((".o", ".cpp", ".d"))]
    flags = [word for word in flags if word not in ("-c", "-o", "-MD", "-MT", "-MF")]
    done = subprocess.run(
        [command[0], *flags, "-M", "-MT", "x", "-x", "c++", source],
        check=True,
        capture_output=True,
        text=True,
        input=text,
    )
    words = done.stdout.replace("\\\n", " ").split()[1:]
    return {Path(word).resolve() for word in words if word != source}


def check_includes(build: Path) -> Iterator[str]:
    """ISA sources include what the allowed headers include, and kernel headers; and one that is
    part of both APIs."""
    checked = 0
    for entry in json.loads((build / "compile_commands.json").read_text()):
        if not ISA_OBJECT.search(entry["file"] + ".o"):
            continue
        command = shlex.split(entry["command"])
        source = Path(entry["file"])
        foreign = includes(command, str(source)) - includes(command, "-", ALLOWED)
        checked += 1
        for header in sorted(foreign):
            shared = header.parts[-2:] == ("regard", "score_function.hpp")
            if not shared and source.parent.resolve() not in header.parents:
                yield f"{source.name}: includes {header}"
    if not checked:
        yield "no ISA source was found in compile_commands.json"


def check(tools: Tools) -> Iterator[str]:
    """Every finding about the objects of a build."""
    paths = [path for folder in OBJECT_FOLDERS for path in (tools.build / folder).rglob("*.o")]
    if not paths:
        yield f"no objects under {tools.build}"
        return
    x86 = "x86-64" in run(tools.objdump, "-f", str(paths[0]))
    for path in sorted(paths):
        isa = ISA_OBJECT.search(path.name)
        if isa:
            yield from check_symbols(tools, path, isa[1])
        if x86:
            allowed = WIDTHS.get(isa[1], 0) if isa else 0
            yield from check_width(tools, path, allowed)
        if isa and isa[1] in HOT_FMAS:
            yield from check_hot_loops(tools, path, isa[1])
    yield from check_includes(tools.build)
    print(f"read {len(paths)} objects under {tools.build}")


def main() -> int:
    """Print what is found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, required=True, metavar="DIR", help="a build folder")
    parser.add_argument("--nm", default="nm")
    parser.add_argument("--objdump", default="objdump")
    args = parser.parse_args()
    findings = list(check(Tools(args.nm, args.objdump, args.build)))
    for finding in findings:
        print(finding, file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
