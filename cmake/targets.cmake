# SPDX-License-Identifier: Apache-2.0
# How every target of this project is built: warnings are errors for our own code, and only for it.

function(chiral_target_options target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  if(PROJECT_IS_TOP_LEVEL)
    target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Werror)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      # GCC 12 sees overlapping copies in std::string where there are none (GCC bug 105651).
      target_compile_options(${target} PRIVATE -Wno-restrict)
      if(CHIRAL_SANITIZE MATCHES "thread")
        # Asio orders handlers by fences, which ThreadSanitizer ignores, beside the locks of its queues, which it sees.
        target_compile_options(${target} PRIVATE -Wno-tsan)
      endif()
    endif()
  else()
    target_compile_options(${target} PRIVATE -Wall -Wextra)
  endif()
endfunction()

# A library of the package: chiral_NAME in the build, chiral::NAME for users, built or installed.
function(chiral_library name)
  add_library(chiral_${name} STATIC ${ARGN})
  add_library(chiral::${name} ALIAS chiral_${name})
  set_target_properties(chiral_${name} PROPERTIES EXPORT_NAME ${name})
  target_include_directories(chiral_${name} PUBLIC
    $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  chiral_target_options(chiral_${name})
  install(TARGETS chiral_${name} EXPORT chiral-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(DIRECTORY include/chiral DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
endfunction()

# A program of the package.
function(chiral_program name)
  add_executable(${name} ${ARGN})
  chiral_target_options(${name})
  install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endfunction()
