// A header whose contents are built into the compiler, or mean nothing in a kernel.
#pragma once
