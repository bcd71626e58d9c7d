# Flags that every target gets, and the three kinds of target that hull has.

add_compile_options(-Wall -Wextra -Wpedantic -Werror -fno-omit-frame-pointer -fstack-protector-strong)
add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-Wconversion> $<$<COMPILE_LANGUAGE:CXX>:-Wshadow>)
add_compile_options(-ffile-prefix-map=${PROJECT_SOURCE_DIR}/=)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  # A precompiled header is the same each time, so that ccache knows it again.
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:SHELL:-Xclang -fno-pch-timestamp>")
  add_compile_options(-Wthread-safety -Wno-gnu-statement-expression -Wno-gnu-statement-expression-from-macro-expansion)
  add_link_options(-fuse-ld=lld)
else()
  # g++ 12 reports these wrongly in coroutines and in std::expected.
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-Wno-maybe-uninitialized> $<$<COMPILE_LANGUAGE:CXX>:-Wno-subobject-linkage>)
endif()
if(HULL_SANITIZE)
  add_compile_options(-fsanitize=${HULL_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${HULL_SANITIZE})
endif()
add_compile_definitions(_FILE_OFFSET_BITS=64 HULL_VERSION="${PROJECT_VERSION}")
include_directories(${PROJECT_SOURCE_DIR})
# Generated files are included from the root as well: "firmware/guest/….h".
include_directories(${PROJECT_BINARY_DIR})

# hull_precompile(TARGET FIRST HEADER…): FIRST has the headers compiled, all others take them from it.
function(hull_precompile target first)
  if(target STREQUAL first)
    target_precompile_headers(${target} PRIVATE ${ARGN})
  else()
    target_precompile_headers(${target} REUSE_FROM ${first})
  endif()
endfunction()

# hull_publish(TARGET): a library for other projects too, as hull::NAME: in their own build, or installed.
function(hull_publish target)
  string(REPLACE hull_ "" name ${target})
  add_library(hull::${name} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name})
  target_compile_features(${target} INTERFACE cxx_std_23)
  target_include_directories(${target} INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}> $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}>
                             $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/hull>)
  install(TARGETS ${target} EXPORT hull ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}/hull COMPONENT development)
endfunction()

# hull_library(NAME DEPENDS folders… LIBRARIES system libraries…): the sources of folder NAME.
function(hull_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "DEPENDS;LIBRARIES")
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${name}/*.cc)
  list(FILTER sources EXCLUDE REGEX "/firmware/guest/")
  add_library(hull_${name} STATIC ${sources})
  hull_publish(hull_${name})
  list(FILTER sources INCLUDE REGEX "/(verdict|value)_rows_")  # the same names in each, on purpose
  set_source_files_properties(${sources} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  foreach(dependency ${arg_DEPENDS})
    target_link_libraries(hull_${name} PUBLIC hull_${dependency})
  endforeach()
  target_link_libraries(hull_${name} PUBLIC ${arg_LIBRARIES})
  hull_precompile(hull_${name} hull_base ${PROJECT_SOURCE_DIR}/cmake/precompiled.h)
  if(HULL_FUZZ)
    target_compile_options(hull_${name} PRIVATE -fsanitize=fuzzer-no-link)
  endif()
endfunction()

# hull_built_quickly(TARGET): TARGET is run for what it calls, not for its own speed. Optimising and
# sanitizing what gtest's headers expand to is most of the time that a build takes.
function(hull_built_quickly target)
  target_compile_options(${target} PRIVATE -O0 -g1)
endfunction()

# hull_unit_test(FOLDER [OF LIBRARY] [LIBRARIES …]): tests/unit/FOLDER/*_test.cc as one program, one ctest
# entry.
function(hull_unit_test folder)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "OF" "LIBRARIES")
  if(NOT arg_OF)
    set(arg_OF ${folder})
  endif()
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/unit/${folder}/*_test.cc)
  if(NOT sources)
    return()
  endif()
  add_executable(unit_${folder} ${sources})
  target_link_libraries(unit_${folder} PRIVATE hull_${arg_OF} ${arg_LIBRARIES} GTest::gtest GTest::gtest_main)
  hull_built_quickly(unit_${folder})
  if(folder STREQUAL qcow2)  # the same names in many
    set_target_properties(unit_${folder} PROPERTIES UNITY_BUILD OFF)
  endif()
  if(CMAKE_DISABLE_PRECOMPILE_HEADERS)
    target_compile_options(unit_${folder} PRIVATE "SHELL:-include gtest/gtest.h")
  else()
    hull_precompile(unit_${folder} unit_base <gtest/gtest.h> ${PROJECT_SOURCE_DIR}/cmake/precompiled.h)
  endif()
  add_test(NAME unit_${folder} COMMAND unit_${folder})
  set_tests_properties(unit_${folder} PROPERTIES TIMEOUT 600)
endfunction()

# hull_fuzz_target(NAME [LIBRARIES …]): tests/fuzz/NAME.cc; seeds in tests/fuzz/seeds/NAME/. Without
# HULL_FUZZ nothing is built.
function(hull_fuzz_target name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "LIBRARIES")
  if(NOT HULL_FUZZ)
    return()
  endif()
  add_executable(fuzz_${name} ${PROJECT_SOURCE_DIR}/tests/fuzz/${name}.cc)
  target_link_libraries(fuzz_${name} PRIVATE ${arg_LIBRARIES})
  target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
endfunction()
