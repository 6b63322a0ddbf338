# SPDX-License-Identifier: Apache-2.0
# What the tests of all parts share: GoogleTest, and chiral_test().
if(CMAKE_CROSSCOMPILING)
  # Debian has GoogleTest's libraries for the host only, and its sources.
  add_subdirectory(/usr/src/googletest ${PROJECT_BINARY_DIR}/googletest EXCLUDE_FROM_ALL)
else()
  find_package(GTest REQUIRED)
endif()
include(GoogleTest)

# chiral_test(NAME SOURCES...) builds one GoogleTest program and registers each of its cases with ctest. ALONE: no other test
# runs meanwhile.
function(chiral_test name)
  cmake_parse_arguments(TEST "ALONE" "TIMEOUT" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${TEST_SOURCES})
  target_link_libraries(${name} PRIVATE ${TEST_LIBS} GTest::gtest_main)
  chiral_target_options(${name})
  if(NOT TEST_TIMEOUT)
    set(TEST_TIMEOUT 120)
  endif()
  gtest_discover_tests(${name} TEST_PREFIX "${name}." 
    PROPERTIES TIMEOUT ${TEST_TIMEOUT} RUN_SERIAL ${TEST_ALONE} DISCOVERY_TIMEOUT 60)
endfunction()
