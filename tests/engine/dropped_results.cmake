# SPDX-License-Identifier: Apache-2.0
# Every line of SOURCE that calls the engine, a frame, a reader or a slot is to be warned of. CXX, INCLUDE, EIGEN: as a user
# compiles.
execute_process(COMMAND ${CXX} -std=c++20 -fsyntax-only -Wunused-result -I${INCLUDE} -isystem ${EIGEN} ${SOURCE}
                RESULT_VARIABLE result ERROR_VARIABLE told)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "it does not compile:\n${told}")
endif()
file(STRINGS ${SOURCE} calls REGEX "^    (engine|frame|reader|slot)\\.")
string(REGEX MATCHALL "warning: ignoring return value" warnings "${told}")
list(LENGTH calls expected)
list(LENGTH warnings got)
if(expected EQUAL 0 OR NOT got EQUAL expected)
  message(FATAL_ERROR "of ${expected} results that are dropped the compiler finds ${got}:\n${told}")
endif()
