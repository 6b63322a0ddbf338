# SPDX-License-Identifier: Apache-2.0
# Installs a build into a prefix of its own, builds programs against it as a user would, and runs them.
#
#   cmake -DBUILD=... -DWORK=... -DSOURCE=... -DMINIMAL_SERVER=... -DPYTHON=... -DCXX=... -DFLAGS=... -P run.cmake
cmake_minimum_required(VERSION 3.22)

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result TIMEOUT 500)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "failed (${result}): ${ARGN}")
  endif()
endfunction()

file(REMOVE_RECURSE ${WORK})
set(prefix ${WORK}/prefix)
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix})

# Nothing that is installed asks for a library that users need not have.
file(GLOB_RECURSE headers ${prefix}/include/*.hpp)
file(GLOB_RECURSE package ${prefix}/*/chiral*.cmake)
if(NOT headers OR NOT package)
  message(FATAL_ERROR "no headers or no package were installed")
endif()
foreach(file IN LISTS headers package)
  file(STRINGS ${file} found REGEX "^ *#include <(boost|msgpack|concurrentqueue)|Boost::|find_dependency.Boost|MSGPACK|CONCURRENTQUEUE")
  if(found)
    message(FATAL_ERROR "${file} needs ${found}")
  endif()
endforeach()

set(configure ${CMAKE_COMMAND} -S ${SOURCE} -G Ninja -DCMAKE_CXX_COMPILER=${CXX} -DCMAKE_BUILD_TYPE=Release
  "-DCMAKE_CXX_FLAGS=${FLAGS}" -DCMAKE_PREFIX_PATH=${prefix})

run(${configure} -B ${WORK}/engine -DWITH_SERVER=OFF)
run(${CMAKE_COMMAND} --build ${WORK}/engine)
run(${WORK}/engine/engine_only)

run(${configure} -B ${WORK}/server -DMINIMAL_SERVER=${MINIMAL_SERVER})
run(${CMAKE_COMMAND} --build ${WORK}/server -j 1)
run(${WORK}/server/guide_steps)
run(${PYTHON} ${SOURCE}/talk_to_minimal_server.py ${WORK}/server/minimal_server)
