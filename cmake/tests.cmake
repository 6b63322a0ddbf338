# SPDX-License-Identifier: Apache-2.0
# What the tests of all parts share: GoogleTest, and chiral_test().
if(CMAKE_CROSSCOMPILING)
  # Debian has GoogleTest's libraries for the host only, and its sources.
  add_subdirectory(/usr/src/googletest ${PROJECT_BINARY_DIR}/googletest EXCLUDE_FROM_ALL)
else()
  find_package(GTest REQUIRED)
endif()
include(GoogleTest)

# How tests are optimised says nothing about what they test, but costs a third of their compilation.
function(chiral_test_effort target)
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-O1>)
endfunction()

if(CHIRAL_PRECOMPILE_HEADERS)
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/test_headers.cpp CONTENT "// What all tests include, see cmake/tests.cmake.\n")
  add_library(chiral_test_headers OBJECT ${PROJECT_BINARY_DIR}/test_headers.cpp)
  target_link_libraries(chiral_test_headers PRIVATE GTest::gtest Eigen3::Eigen)
  target_precompile_headers(chiral_test_headers PRIVATE
    <Eigen/Core> <gtest/gtest.h> <atomic> <chrono> <condition_variable> <functional> <memory> <mutex> <string> <thread> <vector>)
  chiral_test_effort(chiral_test_headers)
  chiral_target_options(chiral_test_headers)  # the same as of the tests, or they could not use it
endif()

# chiral_test(NAME SOURCES...) builds one GoogleTest program and registers each of its cases with ctest. ALONE: no other test
# runs meanwhile.
function(chiral_test name)
  cmake_parse_arguments(TEST "ALONE" "TIMEOUT" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${TEST_SOURCES})
  target_link_libraries(${name} PRIVATE ${TEST_LIBS} GTest::gtest_main)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)  # support/
  chiral_target_options(${name})
  chiral_test_effort(${name})
  if(CHIRAL_PRECOMPILE_HEADERS)
    target_precompile_headers(${name} REUSE_FROM chiral_test_headers)
    # A program with options of its own compiles them again: slower, not wrong.
    target_compile_options(${name} PRIVATE -Wno-error=invalid-pch)
  endif()
  if(NOT TEST_TIMEOUT)
    set(TEST_TIMEOUT 120)
  endif()
  gtest_discover_tests(${name} TEST_PREFIX "${name}."
    PROPERTIES TIMEOUT ${TEST_TIMEOUT} RUN_SERIAL ${TEST_ALONE} DISCOVERY_TIMEOUT 60)
endfunction()
