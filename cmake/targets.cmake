# SPDX-License-Identifier: Apache-2.0
# How every target of this project is built: warnings are errors for our own code, and only for it.

# What touches every pixel is optimised also where sanitizers watch it (target property CHIRAL_EVERY_PIXEL). The rest spends its time
# waiting, but an optimiser twice the time of a compiler that does without.
define_property(TARGET PROPERTY CHIRAL_EVERY_PIXEL BRIEF_DOCS "Optimised with sanitizers, too"
  FULL_DOCS "Set on targets whose code loops over pixels or spins, which would be too slow to test with sanitizers at -O0")

# Most of what a source costs the compiler is the same headers again. Precompiled they cost once; compilers behind a launcher that
# keeps results (ccache) would not find those again. Libraries only with sanitizers: other builds show that each source
# includes what it needs.
if(CMAKE_CXX_COMPILER_LAUNCHER OR NOT PROJECT_IS_TOP_LEVEL)
  set(precompile OFF)
else()
  set(precompile ON)
endif()
option(CHIRAL_PRECOMPILE_HEADERS "Compile once what all tests include, and with sanitizers what many sources of a library do" ${precompile})
function(chiral_precompile target)
  cmake_parse_arguments(PRECOMPILE "" "" "HEADERS;NOT_FOR" ${ARGN})
  if(CHIRAL_PRECOMPILE_HEADERS AND CHIRAL_SANITIZE)
    target_precompile_headers(${target} PRIVATE ${PRECOMPILE_HEADERS})
    set_source_files_properties(${PRECOMPILE_NOT_FOR} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
  endif()
endfunction()

function(chiral_target_options target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
  if(CHIRAL_SANITIZE)
    target_compile_options(${target} PRIVATE $<$<NOT:$<BOOL:$<TARGET_PROPERTY:CHIRAL_EVERY_PIXEL>>>:-O0>)
  endif()
  if(PROJECT_IS_TOP_LEVEL)
    target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Werror)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      # GCC 12 sees overlapping copies in std::string, and copies beyond its end, where there are none (GCC bug 105651). Which
      # of them it sees changes with every header and flag. The sanitizers see those that are there.
      target_compile_options(${target} PRIVATE -Wno-restrict -Wno-array-bounds -Wno-stringop-overflow)
      if(CHIRAL_SANITIZE MATCHES "thread")
        # Asio orders handlers by fences, which ThreadSanitizer ignores, beside the locks of its queues, which it sees.
        target_compile_options(${target} PRIVATE -Wno-tsan)
      endif()
    endif()
  else()
    target_compile_options(${target} PRIVATE -Wall -Wextra)
  endif()
endfunction()

# A library of the package: chiral_NAME in the build, chiral::NAME for users, built or installed. Static, or shared if
# BUILD_SHARED_LIBS says so; PRIVATE_TO_PACKAGE: always static, a part of others that users do not link.
function(chiral_library name)
  cmake_parse_arguments(LIBRARY "PRIVATE_TO_PACKAGE" "" "" ${ARGN})
  if(LIBRARY_PRIVATE_TO_PACKAGE)
    add_library(chiral_${name} STATIC ${LIBRARY_UNPARSED_ARGUMENTS})
  else()
    add_library(chiral_${name} ${LIBRARY_UNPARSED_ARGUMENTS})
  endif()
  add_library(chiral::${name} ALIAS chiral_${name})
  # Before 1.0 minor versions may differ in their interfaces.
  set_target_properties(chiral_${name} PROPERTIES EXPORT_NAME ${name} POSITION_INDEPENDENT_CODE ON
    CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
  target_include_directories(chiral_${name} PUBLIC
    $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  chiral_target_options(chiral_${name})
  if(NOT CHIRAL_SANITIZE)
    target_link_options(chiral_${name} PRIVATE $<$<BOOL:${BUILD_SHARED_LIBS}>:-Wl,--no-undefined>)
  endif()
  if(CHIRAL_INSTALL AND NOT (LIBRARY_PRIVATE_TO_PACKAGE AND BUILD_SHARED_LIBS))
    install(TARGETS chiral_${name} EXPORT chiral-targets DESTINATION ${CMAKE_INSTALL_LIBDIR})
  endif()
endfunction()

# A program of the package.
function(chiral_program name)
  add_executable(${name} ${ARGN})
  chiral_target_options(${name})
  if(CHIRAL_INSTALL)
    file(RELATIVE_PATH to_libraries /${CMAKE_INSTALL_BINDIR} /${CMAKE_INSTALL_LIBDIR})
    set_target_properties(${name} PROPERTIES INSTALL_RPATH "$<$<BOOL:${BUILD_SHARED_LIBS}>:$ORIGIN/${to_libraries}>")
    install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endfunction()
