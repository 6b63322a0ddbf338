# SPDX-License-Identifier: Apache-2.0
# Builds a project that has this one inside, in both of CMake's ways: the engine with FetchContent, and everything as shared
# libraries with add_subdirectory. Of the latter only the engine is compiled: that the others show what users need is tried by
# tests/package/exports, which need not compile them again.
#
#   cmake -DSOURCE=... -DWORK=... -DROOT=... -DCXX=... -P subproject.cmake
cmake_minimum_required(VERSION 3.22)
include(${CMAKE_CURRENT_LIST_DIR}/run.cmake)

file(REMOVE_RECURSE ${WORK})
set(configure ${CMAKE_COMMAND} -S ${SOURCE}/parent -G Ninja -DCMAKE_CXX_COMPILER=${CXX} -DCHIRAL_SOURCE=${ROOT}
  -DCONSUMER=${SOURCE}/consumer)

foreach(way fetched inside)
  if(way STREQUAL fetched)
    run(${configure} -B ${WORK}/${way} -DWITH_FETCH=ON -DCHIRAL_BUILD_SERVER=OFF)
  else()
    run(${configure} -B ${WORK}/${way} -DBUILD_SHARED_LIBS=ON)
  endif()
  run(${CMAKE_COMMAND} --build ${WORK}/${way} --target engine_only)
  run(${WORK}/${way}/engine_only)

  # The parent's build type is its own, which is none, and so is what it installs.
  file(STRINGS ${WORK}/${way}/CMakeCache.txt type REGEX "^CMAKE_BUILD_TYPE:")
  if(NOT type MATCHES "=$")
    message(FATAL_ERROR "the parent's build type was set: ${type}")
  endif()
  run(${CMAKE_COMMAND} --install ${WORK}/${way} --prefix ${WORK}/${way}/prefix)
  file(GLOB_RECURSE installed RELATIVE ${WORK}/${way}/prefix ${WORK}/${way}/prefix/*)
  if(NOT installed STREQUAL "bin/engine_only")
    message(FATAL_ERROR "the parent installs what is not its own: ${installed}")
  endif()
endforeach()
if(NOT EXISTS ${WORK}/inside/chiral/engine/libchiral_engine.so)
  message(FATAL_ERROR "BUILD_SHARED_LIBS was not respected")
endif()
