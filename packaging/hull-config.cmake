# find_package(hull): the targets hull::vmm (a virtual machine), hull::blockcore (images), hull::config (domain
# documents) and those below them. They are static and for C++23.
include("${CMAKE_CURRENT_LIST_DIR}/hull-targets.cmake")
