# What `cmake --install` puts where, of the libraries; the program is in tools/hull/CMakeLists.txt. Two components:
# "program", which the Debian package takes, and "development".

set(folders base config blockcore firmware devices virtio vmm)
foreach(folder ${folders})
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${folder} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/hull COMPONENT development
          FILES_MATCHING PATTERN "*.h" PATTERN guest EXCLUDE)
endforeach()
install(EXPORT hull NAMESPACE hull:: FILE hull-targets.cmake DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/hull COMPONENT development)
include(CMakePackageConfigHelpers)
write_basic_package_version_file(hull-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_SOURCE_DIR}/packaging/hull-config.cmake ${CMAKE_CURRENT_BINARY_DIR}/hull-config-version.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/hull COMPONENT development)

# Each library stands before those that it needs.
set(libraries "")
foreach(folder ${folders})
  get_target_property(needs hull_${folder} LINK_LIBRARIES)
  foreach(name ${needs})
    if(name AND NOT name MATCHES "^hull_")
      string(APPEND externals " -l${name}")
    endif()
  endforeach()
  string(PREPEND libraries " -lhull_${folder}")
endforeach()
set(HULL_PC_LIBRARIES "${libraries} -lhull_guest${externals}")
# From the file's own place, so that the tree may be moved.
file(RELATIVE_PATH HULL_PC_UP /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(${PROJECT_SOURCE_DIR}/packaging/hull.pc.in hull.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/hull.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
