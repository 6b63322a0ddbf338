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

# What is installed is public: no header of a library that users need not have.
file(GLOB_RECURSE headers ${prefix}/include/*.hpp)
if(NOT headers)
  message(FATAL_ERROR "no headers were installed")
endif()
foreach(header IN LISTS headers)
  file(STRINGS ${header} found REGEX "#include <(boost|msgpack|concurrentqueue)")
  if(found)
    message(FATAL_ERROR "${header} includes ${found}")
  endif()
endforeach()

set(configure ${CMAKE_COMMAND} -S ${SOURCE} -G Ninja -DCMAKE_CXX_COMPILER=${CXX} -DCMAKE_BUILD_TYPE=Release
  "-DCMAKE_CXX_FLAGS=${FLAGS}" -DCMAKE_PREFIX_PATH=${prefix} -DMINIMAL_SERVER=${MINIMAL_SERVER})

# As on a machine without Boost.
run(${configure} -B ${WORK}/engine -DWITH_SERVER=OFF -DCMAKE_DISABLE_FIND_PACKAGE_Boost=ON)
run(${CMAKE_COMMAND} --build ${WORK}/engine)
run(${WORK}/engine/engine_only)

run(${configure} -B ${WORK}/server)
run(${CMAKE_COMMAND} --build ${WORK}/server -j 1)
run(${WORK}/server/guide_steps)
run(${PYTHON} ${SOURCE}/talk_to_minimal_server.py ${WORK}/server/minimal_server)
