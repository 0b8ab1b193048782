# Eigen, headers only: from the cmeel-eigen package, which pip installs into the build environment
# and which keeps its CMake files under cmeel.prefix, or else from the system. pip's comes first:
# a wheel should not depend on what else the machine has.
foreach(prefix IN LISTS CMAKE_PREFIX_PATH SKBUILD_PLATLIB_DIR)
  list(APPEND REGARD_EIGEN_PATHS "${prefix}/cmeel.prefix")
endforeach()
find_package(Python3 COMPONENTS Interpreter QUIET)
if(Python3_Interpreter_FOUND)
  list(APPEND REGARD_EIGEN_PATHS "${Python3_SITELIB}/cmeel.prefix" "${Python3_SITEARCH}/cmeel.prefix")
endif()
find_package(Eigen3 QUIET CONFIG
  PATHS ${REGARD_EIGEN_PATHS} PATH_SUFFIXES share/eigen3/cmake NO_DEFAULT_PATH)
find_package(Eigen3 QUIET CONFIG)
if(NOT TARGET Eigen3::Eigen)
  message(FATAL_ERROR
    "Eigen was not found. Install it with `pip install cmeel-eigen` or your system's package "
    "(libeigen3-dev), or set Eigen3_DIR.")
endif()
