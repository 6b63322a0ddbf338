# SPDX-License-Identifier: Apache-2.0
# What finds the installed package: find_package(chiral), and pkg-config.
include(CMakePackageConfigHelpers)
set(CHIRAL_CONFIG_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/chiral)
if(CHIRAL_BUILD_SERVER)
  install(TARGETS chiral_both EXPORT chiral-targets)
endif()
install(EXPORT chiral-targets NAMESPACE chiral:: DESTINATION ${CHIRAL_CONFIG_DIR})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/chiral-config.cmake.in ${PROJECT_BINARY_DIR}/chiral-config.cmake
  INSTALL_DESTINATION ${CHIRAL_CONFIG_DIR})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/chiral-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/chiral-config.cmake ${PROJECT_BINARY_DIR}/chiral-config-version.cmake
  DESTINATION ${CHIRAL_CONFIG_DIR})

# chiral_pkg_config(NAME REQUIRES DESCRIPTION LIBRARY...): what a static library needs stands with it, because pkg-config
# without --static would leave it out.
file(RELATIVE_PATH CHIRAL_PREFIX_FROM_PC /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
function(chiral_pkg_config name requires description)
  set(CHIRAL_PC_NAME ${name})
  set(CHIRAL_PC_DESCRIPTION "${description}")
  set(CHIRAL_PC_REQUIRES "${requires}")
  list(TRANSFORM ARGN PREPEND -l)
  list(JOIN ARGN " " CHIRAL_PC_LIBS)
  configure_file(${PROJECT_SOURCE_DIR}/cmake/chiral.pc.in ${PROJECT_BINARY_DIR}/${name}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endfunction()

chiral_pkg_config(chiral-engine "eigen3" "Lock-free sensor buffers of a robot" chiral_engine pthread)
if(CHIRAL_BUILD_SERVER)
  set(wire_libraries chiral_wire)
  set(inside "")
  if(NOT BUILD_SHARED_LIBS)
    set(wire_libraries chiral_imaging chiral_wire chiral_net)
    if(CHIRAL_ZENOH)
      list(APPEND wire_libraries chiral_zenoh dl m)
    endif()
    set(inside ", openssl, libpng, libturbojpeg, libzstd")
  endif()
  chiral_pkg_config(chiral-client "eigen3${inside}" "Policy side of remote policies" chiral_client ${wire_libraries} pthread)
  chiral_pkg_config(chiral-server "chiral-engine, eigen3${inside}" "Robot side of remote policies" chiral_server ${wire_libraries})
  chiral_pkg_config(chiral "chiral-server, chiral-client" "Both sides of remote policies")
endif()
