# regard_add_isa(<target> <name> <flags>...)
#
# Adds cpp/src/kernels/isa_<name>.cpp to the target, compiled with the flags, if the compiler takes
# them for this processor, and defines REGARD_HAVE_<NAME> for the dispatcher.
#
# Such a file holds code for CPUs other than the one that loads the library, so nothing of it may
# be shared with the rest: it includes intrinsics and the project's kernel headers only, everything
# in it has internal linkage, and tests/cpp/check_objects.py reads the objects to prove it.
include(CheckCXXSourceCompiles)

function(regard_add_isa target name)
  string(TOUPPER "${name}" upper)
  set(CMAKE_REQUIRED_FLAGS "${ARGN}")
  list(JOIN CMAKE_REQUIRED_FLAGS " " CMAKE_REQUIRED_FLAGS)
  if(name STREQUAL "neon")
    set(probe "#if !defined(__aarch64__)\n#error not AArch64\n#endif\n#include <arm_neon.h>\nint main() {}")
  else()
    set(probe "#if !defined(__x86_64__)\n#error not x86-64\n#endif\n#include <immintrin.h>\nint main() {}")
  endif()
  check_cxx_source_compiles("${probe}" REGARD_COMPILES_${upper})
  if(NOT REGARD_COMPILES_${upper})
    return()
  endif()
  set(source "${CMAKE_CURRENT_SOURCE_DIR}/src/kernels/isa_${name}.cpp")
  target_sources(${target} PRIVATE "${source}")
  target_compile_definitions(${target} PRIVATE REGARD_HAVE_${upper})
  set_source_files_properties("${source}" PROPERTIES COMPILE_OPTIONS
    "${ARGN};${REGARD_KERNEL_FLAGS};${REGARD_VECTOR_FLAGS}")
endfunction()

# Kernels are always optimised (their register tiles mean nothing otherwise), use neither
# exceptions nor RTTI, and GCC 12 warns about its own AVX-512 headers (GCC bug 105593).
set(REGARD_KERNEL_FLAGS -O3 -fno-exceptions -fno-rtti -fno-math-errno)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  list(APPEND REGARD_KERNEL_FLAGS -Wno-maybe-uninitialized -Wno-uninitialized)
  # Second versions of loops and of functions make the core larger and no kernel faster.
  list(APPEND REGARD_KERNEL_FLAGS -fno-ipa-cp-clone -fno-split-loops -fno-unswitch-loops)
  # Kernels that spell out their vectors gain nothing from the compiler's own, of the loops round
  # them; those for any CPU do.
  set(REGARD_VECTOR_FLAGS -fvect-cost-model=very-cheap)
endif()
