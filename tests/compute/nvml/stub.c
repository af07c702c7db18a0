/* A libnvidia-ml.so.1 for tests: what it answers stands in environment variables, read at each call.
 *
 * STUB_GPUS: number of GPUs (0 to 9); without it there is no library, as far as a caller sees; STUB_INIT: what nvmlInit returns; STUB_MIG: instances of GPU 0; STUB_OLD: 1 for
 * a GPU that knows neither energy nor processes; STUB_PIDS: "pid pid …" with a compute context on GPU 0;
 * STUB_CAPABILITY: of all GPUs, times ten; STUB_CELSIUS, STUB_MILLIWATTS, STUB_SM: of GPU 0; STUB_DENY: 1 refuses to set power limits.
 * A handle is the number of a GPU plus one, or 100 plus the number of an instance of GPU 0.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6, TOO_SMALL = 7, LIBRARY_NOT_FOUND = 12 };
typedef uintptr_t device;
static unsigned limit_mw = 400000;

static long number(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text && *text ? atol(text) : otherwise;
}
static int is_part(device d) { return d >= 100; }
static int exists(device d) {
    return is_part(d) ? (long)(d - 100) < number("STUB_MIG", 0) : d >= 1 && (long)d <= number("STUB_GPUS", 1);
}

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    return getenv("STUB_GPUS") ? (int)number("STUB_INIT", OK) : LIBRARY_NOT_FOUND;
}
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { static char text[32]; snprintf(text, sizeof text, "error %d", code); return text; }
int nvmlSystemGetDriverVersion(char *to, unsigned size) { snprintf(to, size, "550.54.15"); return OK; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = (unsigned)number("STUB_GPUS", 1); return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, device *to) {
    *to = index + 1;
    return exists(*to) ? OK : INVALID;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, device *to) {
    int n;
    if (sscanf(uuid, "MIG-stub-%d", &n) == 1) *to = 100 + (device)n;
    else if (sscanf(uuid, "GPU-stub-%d", &n) == 1) *to = 1 + (device)n;
    else return NOT_FOUND;
    return exists(*to) ? OK : NOT_FOUND;
}
int nvmlDeviceGetUUID(device d, char *to, unsigned size) {
    if (is_part(d)) snprintf(to, size, "MIG-stub-%d", (int)(d - 100));
    else snprintf(to, size, "GPU-stub-%d", (int)(d - 1));
    return OK;
}
int nvmlDeviceGetName(device d, char *to, unsigned size) {
    snprintf(to, size, is_part(d) ? "Stub GPU 1g.10gb" : "Stub GPU");
    return OK;
}
int nvmlDeviceGetMemoryInfo(device d, unsigned long long *memory) { /* total, free, used */
    memory[0] = is_part(d) ? 10ULL << 30 : 80ULL << 30;
    memory[1] = memory[0] - (1ULL << 30);
    memory[2] = 1ULL << 30;
    return OK;
}
int nvmlDeviceGetCudaComputeCapability(device d, int *major, int *minor) {
    if (is_part(d)) return NOT_SUPPORTED;
    *major = (int)number("STUB_CAPABILITY", 90) / 10;
    *minor = (int)number("STUB_CAPABILITY", 90) % 10;
    return OK;
}
int nvmlDeviceGetMigMode(device d, unsigned *current, unsigned *pending) {
    if (d != 1) return NOT_SUPPORTED;
    *current = *pending = number("STUB_MIG", 0) > 0;
    return OK;
}
int nvmlDeviceGetMaxMigDeviceCount(device d, unsigned *count) { (void)d; *count = 7; return OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(device d, unsigned index, device *to) {
    *to = 100 + index;
    return d == 1 && exists(*to) ? OK : NOT_FOUND;
}
int nvmlDeviceGetUtilizationRates(device d, unsigned *rates) { /* gpu, memory */
    if (is_part(d)) return NOT_SUPPORTED;
    rates[0] = (unsigned)number("STUB_SM", 0);
    rates[1] = 0;
    return OK;
}
struct process { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; };
int nvmlDeviceGetComputeRunningProcesses_v3(device d, unsigned *count, struct process *to) {
    const char *text = d == 1 ? getenv("STUB_PIDS") : 0;
    unsigned found = 0, room = to ? *count : 0;
    char *end;
    if (number("STUB_OLD", 0)) return NOT_SUPPORTED;
    for (; text && *text; text = end) {
        unsigned long pid = strtoul(text, &end, 10);
        if (end == text) break;
        if (found < room) to[found] = (struct process){(unsigned)pid, 1 << 20, 0, 0};
        found++;
    }
    *count = found;
    return found <= room ? OK : TOO_SMALL;
}
struct share { unsigned pid; unsigned long long stamp; unsigned sm, memory, encoder, decoder; };
int nvmlDeviceGetProcessUtilization(device d, struct share *to, unsigned *count, unsigned long long since) {
    const char *text = getenv("STUB_PIDS");
    (void)since;
    if (d != 1 || number("STUB_OLD", 0) || !text || !*text) return NOT_FOUND;
    if (!to) { *count = 2; return TOO_SMALL; }
    for (unsigned i = 0; i < 2; i++) /* two moments of the first process; the later one counts */
        to[i] = (struct share){(unsigned)atol(text), 1000 - 10 * i, i ? 99 : (unsigned)number("STUB_SM", 0), 0, 0, 0};
    *count = 2;
    return OK;
}
int nvmlDeviceGetTemperature(device d, unsigned sensor, unsigned *to) {
    (void)sensor;
    *to = (unsigned)number("STUB_CELSIUS", 40);
    return is_part(d) ? NOT_SUPPORTED : OK;
}
int nvmlDeviceGetPowerUsage(device d, unsigned *to) {
    *to = (unsigned)number("STUB_MILLIWATTS", 70000);
    return is_part(d) ? NOT_SUPPORTED : OK;
}
int nvmlDeviceGetTotalEnergyConsumption(device d, unsigned long long *to) {
    static unsigned long long used;
    *to = used += 5000;
    return is_part(d) || number("STUB_OLD", 0) ? NOT_SUPPORTED : OK;
}
int nvmlDeviceGetPowerManagementLimitConstraints(device d, unsigned *least, unsigned *most) {
    *least = 100000;
    *most = 700000;
    return is_part(d) ? NOT_SUPPORTED : OK;
}
int nvmlDeviceSetPowerManagementLimit(device d, unsigned limit) {
    (void)d;
    if (number("STUB_DENY", 0)) return NO_PERMISSION;
    limit_mw = limit;
    return OK;
}
int nvmlDeviceGetEnforcedPowerLimit(device d, unsigned *to) { (void)d; *to = limit_mw; return OK; }
