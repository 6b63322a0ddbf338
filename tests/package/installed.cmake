# SPDX-License-Identifier: Apache-2.0
# Installs a build into a prefix of its own, builds programs against it as users would, with CMake and with pkg-config, and
# runs them.
#
#   cmake -DBUILD=... -DWORK=... -DSOURCE=... -DPYTHON=... -DCXX=... -P installed.cmake
cmake_minimum_required(VERSION 3.22)
include(${CMAKE_CURRENT_LIST_DIR}/run.cmake)

file(REMOVE_RECURSE ${WORK})
set(prefix ${WORK}/prefix)
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix})
foreach(program chiral-serve chiral-probe chiral-stress)
  run(${prefix}/bin/${program} --version)
endforeach()

# Nothing that is installed asks for a library that users need not have.
file(GLOB_RECURSE headers ${prefix}/include/*.hpp)
file(GLOB_RECURSE package ${prefix}/*/chiral*.cmake ${prefix}/*/chiral*.pc)
if(NOT headers OR NOT package)
  message(FATAL_ERROR "no headers or no package were installed")
endif()
foreach(file IN LISTS headers package)
  file(STRINGS ${file} found REGEX "^ *#include <(boost|msgpack|concurrentqueue)|Boost::|find_dependency.Boost|MSGPACK|CONCURRENTQUEUE")
  if(found)
    message(FATAL_ERROR "${file} needs ${found}")
  endif()
endforeach()

set(configure ${CMAKE_COMMAND} -S ${SOURCE}/consumer -G Ninja -DCMAKE_CXX_COMPILER=${CXX} -DCMAKE_BUILD_TYPE=Debug
  -DCMAKE_PREFIX_PATH=${prefix})

run(${configure} -B ${WORK}/engine -DWITH_SERVER=OFF)
run(${CMAKE_COMMAND} --build ${WORK}/engine)
run(${WORK}/engine/engine_only)

run(${configure} -B ${WORK}/server)
run(${CMAKE_COMMAND} --build ${WORK}/server -j 1)
run(${WORK}/server/guide_steps)
run(${WORK}/server/policy)
run(${PYTHON} ${SOURCE}/talk_to_minimal_server.py ${WORK}/server/minimal_server)

# Without CMake.
file(GLOB_RECURSE pc ${prefix}/*/chiral-engine.pc)
get_filename_component(pc_directory ${pc} DIRECTORY)
foreach(pair engine_only=chiral-engine policy=chiral-client guide_steps=chiral-server)
  string(REPLACE "=" ";" pair ${pair})
  list(GET pair 0 program)
  list(GET pair 1 package)
  execute_process(COMMAND ${CMAKE_COMMAND} -E env PKG_CONFIG_PATH=${pc_directory} pkg-config --cflags --libs ${package}
    OUTPUT_VARIABLE options OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  separate_arguments(options UNIX_COMMAND "${options}")
  set(source ${SOURCE}/consumer/${program}.cpp)
  if(NOT program STREQUAL engine_only)  # one compilation shows the flags, the others link what was compiled above
    set(source ${WORK}/server/CMakeFiles/${program}.dir/${program}.cpp.o)
  endif()
  run(${CXX} -std=c++20 ${source} -o ${WORK}/${program} ${options})
  run(${WORK}/${program})
endforeach()

# Whoever forgets the language is told so.
execute_process(COMMAND ${CXX} -std=c++17 -fsyntax-only -I${prefix}/include -x c++ ${prefix}/include/chiral/version.hpp
  RESULT_VARIABLE result ERROR_VARIABLE said)
if(result EQUAL 0 OR NOT said MATCHES "chiral needs C\\+\\+20")
  message(FATAL_ERROR "C++17 was not refused with a clear message: ${said}")
endif()
foreach(header IN LISTS headers)
  file(STRINGS ${header} found REGEX "#include <chiral/(api|time|sources|engine|types|options)\\.hpp>|#error|^namespace chiral::core|#include <chiral/core")
  if(NOT found)
    message(FATAL_ERROR "${header} does not begin with chiral/api.hpp, nor with a header that does")
  endif()
endforeach()
