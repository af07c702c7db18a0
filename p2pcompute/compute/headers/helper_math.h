// helper_math.h: arithmetic on CUDA's vector types, component by component. Own code with the names people know.
#ifndef P2P_HELPER_MATH_H
#define P2P_HELPER_MATH_H
#define P2P_VEC static __device__ __forceinline__
typedef unsigned int uint;
typedef unsigned short ushort;
P2P_VEC float lerp(float a, float b, float t) { return a + t * (b - a); }
P2P_VEC float clamp(float x, float a, float b) { return fmaxf(a, fminf(x, b)); }
P2P_VEC int clamp(int x, int a, int b) { return max(a, min(x, b)); }
P2P_VEC unsigned clamp(unsigned x, unsigned a, unsigned b) { return max(a, min(x, b)); }
P2P_VEC float fracf(float x) { return x - floorf(x); }
P2P_VEC float smoothstep(float a, float b, float x) {
  float y = clamp((x - a) / (b - a), 0.0f, 1.0f);
  return y * y * (3.0f - 2.0f * y);
}
P2P_VEC float2 make_float2(float s) { return make_float2(s, s); }
P2P_VEC float2 operator+(float2 a, float2 b) { return make_float2(a.x + b.x, a.y + b.y); }
P2P_VEC float2 operator+(float2 a, float b) { return make_float2(a.x + b, a.y + b); }
P2P_VEC float2 operator+(float a, float2 b) { return make_float2(a + b.x, a + b.y); }
P2P_VEC void operator+=(float2 &a, float2 b) { a = a + b; }
P2P_VEC void operator+=(float2 &a, float b) { a = a + b; }
P2P_VEC float2 operator-(float2 a, float2 b) { return make_float2(a.x - b.x, a.y - b.y); }
P2P_VEC float2 operator-(float2 a, float b) { return make_float2(a.x - b, a.y - b); }
P2P_VEC float2 operator-(float a, float2 b) { return make_float2(a - b.x, a - b.y); }
P2P_VEC void operator-=(float2 &a, float2 b) { a = a - b; }
P2P_VEC void operator-=(float2 &a, float b) { a = a - b; }
P2P_VEC float2 operator*(float2 a, float2 b) { return make_float2(a.x * b.x, a.y * b.y); }
P2P_VEC float2 operator*(float2 a, float b) { return make_float2(a.x * b, a.y * b); }
P2P_VEC float2 operator*(float a, float2 b) { return make_float2(a * b.x, a * b.y); }
P2P_VEC void operator*=(float2 &a, float2 b) { a = a * b; }
P2P_VEC void operator*=(float2 &a, float b) { a = a * b; }
P2P_VEC float2 operator/(float2 a, float2 b) { return make_float2(a.x / b.x, a.y / b.y); }
P2P_VEC float2 operator/(float2 a, float b) { return make_float2(a.x / b, a.y / b); }
P2P_VEC float2 operator/(float a, float2 b) { return make_float2(a / b.x, a / b.y); }
P2P_VEC void operator/=(float2 &a, float2 b) { a = a / b; }
P2P_VEC void operator/=(float2 &a, float b) { a = a / b; }
P2P_VEC float2 operator-(float2 a) { return make_float2(-a.x, -a.y); }
P2P_VEC float2 fminf(float2 a, float2 b) { return make_float2(fminf(a.x, b.x), fminf(a.y, b.y)); }
P2P_VEC float2 fmaxf(float2 a, float2 b) { return make_float2(fmaxf(a.x, b.x), fmaxf(a.y, b.y)); }
P2P_VEC float2 clamp(float2 x, float a, float b) { return make_float2(clamp(x.x, a, b), clamp(x.y, a, b)); }
P2P_VEC float2 clamp(float2 x, float2 a, float2 b) { return make_float2(clamp(x.x, a.x, b.x), clamp(x.y, a.y, b.y)); }
P2P_VEC float dot(float2 a, float2 b) { return a.x * b.x + a.y * b.y; }
P2P_VEC float2 make_float2(int2 a) { return make_float2((float)a.x, (float)a.y); }
P2P_VEC float2 make_float2(uint2 a) { return make_float2((float)a.x, (float)a.y); }
P2P_VEC float2 make_float2(float3 a) { return make_float2(a.x, a.y); }
P2P_VEC float2 lerp(float2 a, float2 b, float t) { return a + t * (b - a); }
P2P_VEC float length(float2 a) { return sqrtf(dot(a, a)); }
P2P_VEC float2 normalize(float2 a) { return a * rsqrtf(dot(a, a)); }
P2P_VEC float2 reflect(float2 i, float2 n) { return i - 2.0f * n * dot(n, i); }
P2P_VEC float2 floorf(float2 a) { return make_float2(floorf(a.x), floorf(a.y)); }
P2P_VEC float2 fracf(float2 a) { return make_float2(fracf(a.x), fracf(a.y)); }
P2P_VEC float2 fabs(float2 a) { return make_float2(fabsf(a.x), fabsf(a.y)); }
P2P_VEC float2 fmodf(float2 a, float2 b) { return make_float2(fmodf(a.x, b.x), fmodf(a.y, b.y)); }
P2P_VEC float2 smoothstep(float2 a, float2 b, float2 x) { return make_float2(smoothstep(a.x, b.x, x.x), smoothstep(a.y, b.y, x.y)); }
P2P_VEC float3 make_float3(float s) { return make_float3(s, s, s); }
P2P_VEC float3 operator+(float3 a, float3 b) { return make_float3(a.x + b.x, a.y + b.y, a.z + b.z); }
P2P_VEC float3 operator+(float3 a, float b) { return make_float3(a.x + b, a.y + b, a.z + b); }
P2P_VEC float3 operator+(float a, float3 b) { return make_float3(a + b.x, a + b.y, a + b.z); }
P2P_VEC void operator+=(float3 &a, float3 b) { a = a + b; }
P2P_VEC void operator+=(float3 &a, float b) { a = a + b; }
P2P_VEC float3 operator-(float3 a, float3 b) { return make_float3(a.x - b.x, a.y - b.y, a.z - b.z); }
P2P_VEC float3 operator-(float3 a, float b) { return make_float3(a.x - b, a.y - b, a.z - b); }
P2P_VEC float3 operator-(float a, float3 b) { return make_float3(a - b.x, a - b.y, a - b.z); }
P2P_VEC void operator-=(float3 &a, float3 b) { a = a - b; }
P2P_VEC void operator-=(float3 &a, float b) { a = a - b; }
P2P_VEC float3 operator*(float3 a, float3 b) { return make_float3(a.x * b.x, a.y * b.y, a.z * b.z); }
P2P_VEC float3 operator*(float3 a, float b) { return make_float3(a.x * b, a.y * b, a.z * b); }
P2P_VEC float3 operator*(float a, float3 b) { return make_float3(a * b.x, a * b.y, a * b.z); }
P2P_VEC void operator*=(float3 &a, float3 b) { a = a * b; }
P2P_VEC void operator*=(float3 &a, float b) { a = a * b; }
P2P_VEC float3 operator/(float3 a, float3 b) { return make_float3(a.x / b.x, a.y / b.y, a.z / b.z); }
P2P_VEC float3 operator/(float3 a, float b) { return make_float3(a.x / b, a.y / b, a.z / b); }
P2P_VEC float3 operator/(float a, float3 b) { return make_float3(a / b.x, a / b.y, a / b.z); }
P2P_VEC void operator/=(float3 &a, float3 b) { a = a / b; }
P2P_VEC void operator/=(float3 &a, float b) { a = a / b; }
P2P_VEC float3 operator-(float3 a) { return make_float3(-a.x, -a.y, -a.z); }
P2P_VEC float3 fminf(float3 a, float3 b) { return make_float3(fminf(a.x, b.x), fminf(a.y, b.y), fminf(a.z, b.z)); }
P2P_VEC float3 fmaxf(float3 a, float3 b) { return make_float3(fmaxf(a.x, b.x), fmaxf(a.y, b.y), fmaxf(a.z, b.z)); }
P2P_VEC float3 clamp(float3 x, float a, float b) { return make_float3(clamp(x.x, a, b), clamp(x.y, a, b), clamp(x.z, a, b)); }
P2P_VEC float3 clamp(float3 x, float3 a, float3 b) { return make_float3(clamp(x.x, a.x, b.x), clamp(x.y, a.y, b.y), clamp(x.z, a.z, b.z)); }
P2P_VEC float dot(float3 a, float3 b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
P2P_VEC float3 make_float3(int3 a) { return make_float3((float)a.x, (float)a.y, (float)a.z); }
P2P_VEC float3 make_float3(uint3 a) { return make_float3((float)a.x, (float)a.y, (float)a.z); }
P2P_VEC float3 make_float3(float2 a) { return make_float3(a.x, a.y, 0); }
P2P_VEC float3 make_float3(float2 a, float z) { return make_float3(a.x, a.y, z); }
P2P_VEC float3 make_float3(float4 a) { return make_float3(a.x, a.y, a.z); }
P2P_VEC float3 lerp(float3 a, float3 b, float t) { return a + t * (b - a); }
P2P_VEC float length(float3 a) { return sqrtf(dot(a, a)); }
P2P_VEC float3 normalize(float3 a) { return a * rsqrtf(dot(a, a)); }
P2P_VEC float3 reflect(float3 i, float3 n) { return i - 2.0f * n * dot(n, i); }
P2P_VEC float3 floorf(float3 a) { return make_float3(floorf(a.x), floorf(a.y), floorf(a.z)); }
P2P_VEC float3 fracf(float3 a) { return make_float3(fracf(a.x), fracf(a.y), fracf(a.z)); }
P2P_VEC float3 fabs(float3 a) { return make_float3(fabsf(a.x), fabsf(a.y), fabsf(a.z)); }
P2P_VEC float3 fmodf(float3 a, float3 b) { return make_float3(fmodf(a.x, b.x), fmodf(a.y, b.y), fmodf(a.z, b.z)); }
P2P_VEC float3 smoothstep(float3 a, float3 b, float3 x) { return make_float3(smoothstep(a.x, b.x, x.x), smoothstep(a.y, b.y, x.y), smoothstep(a.z, b.z, x.z)); }
P2P_VEC float4 make_float4(float s) { return make_float4(s, s, s, s); }
P2P_VEC float4 operator+(float4 a, float4 b) { return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w); }
P2P_VEC float4 operator+(float4 a, float b) { return make_float4(a.x + b, a.y + b, a.z + b, a.w + b); }
P2P_VEC float4 operator+(float a, float4 b) { return make_float4(a + b.x, a + b.y, a + b.z, a + b.w); }
P2P_VEC void operator+=(float4 &a, float4 b) { a = a + b; }
P2P_VEC void operator+=(float4 &a, float b) { a = a + b; }
P2P_VEC float4 operator-(float4 a, float4 b) { return make_float4(a.x - b.x, a.y - b.y, a.z - b.z, a.w - b.w); }
P2P_VEC float4 operator-(float4 a, float b) { return make_float4(a.x - b, a.y - b, a.z - b, a.w - b); }
P2P_VEC float4 operator-(float a, float4 b) { return make_float4(a - b.x, a - b.y, a - b.z, a - b.w); }
P2P_VEC void operator-=(float4 &a, float4 b) { a = a - b; }
P2P_VEC void operator-=(float4 &a, float b) { a = a - b; }
P2P_VEC float4 operator*(float4 a, float4 b) { return make_float4(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w); }
P2P_VEC float4 operator*(float4 a, float b) { return make_float4(a.x * b, a.y * b, a.z * b, a.w * b); }
P2P_VEC float4 operator*(float a, float4 b) { return make_float4(a * b.x, a * b.y, a * b.z, a * b.w); }
P2P_VEC void operator*=(float4 &a, float4 b) { a = a * b; }
P2P_VEC void operator*=(float4 &a, float b) { a = a * b; }
P2P_VEC float4 operator/(float4 a, float4 b) { return make_float4(a.x / b.x, a.y / b.y, a.z / b.z, a.w / b.w); }
P2P_VEC float4 operator/(float4 a, float b) { return make_float4(a.x / b, a.y / b, a.z / b, a.w / b); }
P2P_VEC float4 operator/(float a, float4 b) { return make_float4(a / b.x, a / b.y, a / b.z, a / b.w); }
P2P_VEC void operator/=(float4 &a, float4 b) { a = a / b; }
P2P_VEC void operator/=(float4 &a, float b) { a = a / b; }
P2P_VEC float4 operator-(float4 a) { return make_float4(-a.x, -a.y, -a.z, -a.w); }
P2P_VEC float4 fminf(float4 a, float4 b) { return make_float4(fminf(a.x, b.x), fminf(a.y, b.y), fminf(a.z, b.z), fminf(a.w, b.w)); }
P2P_VEC float4 fmaxf(float4 a, float4 b) { return make_float4(fmaxf(a.x, b.x), fmaxf(a.y, b.y), fmaxf(a.z, b.z), fmaxf(a.w, b.w)); }
P2P_VEC float4 clamp(float4 x, float a, float b) { return make_float4(clamp(x.x, a, b), clamp(x.y, a, b), clamp(x.z, a, b), clamp(x.w, a, b)); }
P2P_VEC float4 clamp(float4 x, float4 a, float4 b) { return make_float4(clamp(x.x, a.x, b.x), clamp(x.y, a.y, b.y), clamp(x.z, a.z, b.z), clamp(x.w, a.w, b.w)); }
P2P_VEC float dot(float4 a, float4 b) { return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w; }
P2P_VEC float4 make_float4(int4 a) { return make_float4((float)a.x, (float)a.y, (float)a.z, (float)a.w); }
P2P_VEC float4 make_float4(uint4 a) { return make_float4((float)a.x, (float)a.y, (float)a.z, (float)a.w); }
P2P_VEC float4 make_float4(float3 a) { return make_float4(a.x, a.y, a.z, 0); }
P2P_VEC float4 make_float4(float3 a, float w) { return make_float4(a.x, a.y, a.z, w); }
P2P_VEC float4 lerp(float4 a, float4 b, float t) { return a + t * (b - a); }
P2P_VEC float length(float4 a) { return sqrtf(dot(a, a)); }
P2P_VEC float4 normalize(float4 a) { return a * rsqrtf(dot(a, a)); }
P2P_VEC float4 reflect(float4 i, float4 n) { return i - 2.0f * n * dot(n, i); }
P2P_VEC float4 floorf(float4 a) { return make_float4(floorf(a.x), floorf(a.y), floorf(a.z), floorf(a.w)); }
P2P_VEC float4 fracf(float4 a) { return make_float4(fracf(a.x), fracf(a.y), fracf(a.z), fracf(a.w)); }
P2P_VEC float4 fabs(float4 a) { return make_float4(fabsf(a.x), fabsf(a.y), fabsf(a.z), fabsf(a.w)); }
P2P_VEC float4 fmodf(float4 a, float4 b) { return make_float4(fmodf(a.x, b.x), fmodf(a.y, b.y), fmodf(a.z, b.z), fmodf(a.w, b.w)); }
P2P_VEC float4 smoothstep(float4 a, float4 b, float4 x) { return make_float4(smoothstep(a.x, b.x, x.x), smoothstep(a.y, b.y, x.y), smoothstep(a.z, b.z, x.z), smoothstep(a.w, b.w, x.w)); }
P2P_VEC int2 make_int2(int s) { return make_int2(s, s); }
P2P_VEC int2 operator+(int2 a, int2 b) { return make_int2(a.x + b.x, a.y + b.y); }
P2P_VEC int2 operator+(int2 a, int b) { return make_int2(a.x + b, a.y + b); }
P2P_VEC int2 operator+(int a, int2 b) { return make_int2(a + b.x, a + b.y); }
P2P_VEC void operator+=(int2 &a, int2 b) { a = a + b; }
P2P_VEC void operator+=(int2 &a, int b) { a = a + b; }
P2P_VEC int2 operator-(int2 a, int2 b) { return make_int2(a.x - b.x, a.y - b.y); }
P2P_VEC int2 operator-(int2 a, int b) { return make_int2(a.x - b, a.y - b); }
P2P_VEC int2 operator-(int a, int2 b) { return make_int2(a - b.x, a - b.y); }
P2P_VEC void operator-=(int2 &a, int2 b) { a = a - b; }
P2P_VEC void operator-=(int2 &a, int b) { a = a - b; }
P2P_VEC int2 operator*(int2 a, int2 b) { return make_int2(a.x * b.x, a.y * b.y); }
P2P_VEC int2 operator*(int2 a, int b) { return make_int2(a.x * b, a.y * b); }
P2P_VEC int2 operator*(int a, int2 b) { return make_int2(a * b.x, a * b.y); }
P2P_VEC void operator*=(int2 &a, int2 b) { a = a * b; }
P2P_VEC void operator*=(int2 &a, int b) { a = a * b; }
P2P_VEC int2 operator-(int2 a) { return make_int2(-a.x, -a.y); }
P2P_VEC int2 min(int2 a, int2 b) { return make_int2(min(a.x, b.x), min(a.y, b.y)); }
P2P_VEC int2 max(int2 a, int2 b) { return make_int2(max(a.x, b.x), max(a.y, b.y)); }
P2P_VEC int2 clamp(int2 x, int a, int b) { return make_int2(clamp(x.x, a, b), clamp(x.y, a, b)); }
P2P_VEC int2 clamp(int2 x, int2 a, int2 b) { return make_int2(clamp(x.x, a.x, b.x), clamp(x.y, a.y, b.y)); }
P2P_VEC int dot(int2 a, int2 b) { return a.x * b.x + a.y * b.y; }
P2P_VEC int2 make_int2(float2 a) { return make_int2((int)a.x, (int)a.y); }
P2P_VEC int2 make_int2(uint2 a) { return make_int2((int)a.x, (int)a.y); }
P2P_VEC int2 make_int2(int3 a) { return make_int2(a.x, a.y); }
P2P_VEC int2 abs(int2 a) { return make_int2(abs(a.x), abs(a.y)); }
P2P_VEC int3 make_int3(int s) { return make_int3(s, s, s); }
P2P_VEC int3 operator+(int3 a, int3 b) { return make_int3(a.x + b.x, a.y + b.y, a.z + b.z); }
P2P_VEC int3 operator+(int3 a, int b) { return make_int3(a.x + b, a.y + b, a.z + b); }
P2P_VEC int3 operator+(int a, int3 b) { return make_int3(a + b.x, a + b.y, a + b.z); }
P2P_VEC void operator+=(int3 &a, int3 b) { a = a + b; }
P2P_VEC void operator+=(int3 &a, int b) { a = a + b; }
P2P_VEC int3 operator-(int3 a, int3 b) { return make_int3(a.x - b.x, a.y - b.y, a.z - b.z); }
P2P_VEC int3 operator-(int3 a, int b) { return make_int3(a.x - b, a.y - b, a.z - b); }
P2P_VEC int3 operator-(int a, int3 b) { return make_int3(a - b.x, a - b.y, a - b.z); }
P2P_VEC void operator-=(int3 &a, int3 b) { a = a - b; }
P2P_VEC void operator-=(int3 &a, int b) { a = a - b; }
P2P_VEC int3 operator*(int3 a, int3 b) { return make_int3(a.x * b.x, a.y * b.y, a.z * b.z); }
P2P_VEC int3 operator*(int3 a, int b) { return make_int3(a.x * b, a.y * b, a.z * b); }
P2P_VEC int3 operator*(int a, int3 b) { return make_int3(a * b.x, a * b.y, a * b.z); }
P2P_VEC void operator*=(int3 &a, int3 b) { a = a * b; }
P2P_VEC void operator*=(int3 &a, int b) { a = a * b; }
P2P_VEC int3 operator-(int3 a) { return make_int3(-a.x, -a.y, -a.z); }
P2P_VEC int3 min(int3 a, int3 b) { return make_int3(min(a.x, b.x), min(a.y, b.y), min(a.z, b.z)); }
P2P_VEC int3 max(int3 a, int3 b) { return make_int3(max(a.x, b.x), max(a.y, b.y), max(a.z, b.z)); }
P2P_VEC int3 clamp(int3 x, int a, int b) { return make_int3(clamp(x.x, a, b), clamp(x.y, a, b), clamp(x.z, a, b)); }
P2P_VEC int3 clamp(int3 x, int3 a, int3 b) { return make_int3(clamp(x.x, a.x, b.x), clamp(x.y, a.y, b.y), clamp(x.z, a.z, b.z)); }
P2P_VEC int dot(int3 a, int3 b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
P2P_VEC int3 make_int3(float3 a) { return make_int3((int)a.x, (int)a.y, (int)a.z); }
P2P_VEC int3 make_int3(uint3 a) { return make_int3((int)a.x, (int)a.y, (int)a.z); }
P2P_VEC int3 make_int3(int2 a) { return make_int3(a.x, a.y, 0); }
P2P_VEC int3 make_int3(int2 a, int z) { return make_int3(a.x, a.y, z); }
P2P_VEC int3 make_int3(int4 a) { return make_int3(a.x, a.y, a.z); }
P2P_VEC int3 abs(int3 a) { return make_int3(abs(a.x), abs(a.y), abs(a.z)); }
P2P_VEC int4 make_int4(int s) { return make_int4(s, s, s, s); }
P2P_VEC int4 operator+(int4 a, int4 b) { return make_int4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w); }
P2P_VEC int4 operator+(int4 a, int b) { return make_int4(a.x + b, a.y + b, a.z + b, a.w + b); }
P2P_VEC int4 operator+(int a, int4 b) { return make_int4(a + b.x, a + b.y, a + b.z, a + b.w); }
P2P_VEC void operator+=(int4 &a, int4 b) { a = a + b; }
P2P_VEC void operator+=(int4 &a, int b) { a = a + b; }
P2P_VEC int4 operator-(int4 a, int4 b) { return make_int4(a.x - b.x, a.y - b.y, a.z - b.z, a.w - b.w); }
P2P_VEC int4 operator-(int4 a, int b) { return make_int4(a.x - b, a.y - b, a.z - b, a.w - b); }
P2P_VEC int4 operator-(int a, int4 b) { return make_int4(a - b.x, a - b.y, a - b.z, a - b.w); }
P2P_VEC void operator-=(int4 &a, int4 b) { a = a - b; }
P2P_VEC void operator-=(int4 &a, int b) { a = a - b; }
P2P_VEC int4 operator*(int4 a, int4 b) { return make_int4(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w); }
P2P_VEC int4 operator*(int4 a, int b) { return make_int4(a.x * b, a.y * b, a.z * b, a.w * b); }
P2P_VEC int4 operator*(int a, int4 b) { return make_int4(a * b.x, a * b.y, a * b.z, a * b.w); }
P2P_VEC void operator*=(int4 &a, int4 b) { a = a * b; }
P2P_VEC void operator*=(int4 &a, int b) { a = a * b; }
P2P_VEC int4 operator-(int4 a) { return make_int4(-a.x, -a.y, -a.z, -a.w); }
P2P_VEC int4 min(int4 a, int4 b) { return make_int4(min(a.x, b.x), min(a.y, b.y), min(a.z, b.z), min(a.w, b.w)); }
P2P_VEC int4 max(int4 a, int4 b) { return make_int4(max(a.x, b.x), max(a.y, b.y), max(a.z, b.z), max(a.w, b.w)); }
P2P_VEC int4 clamp(int4 x, int a, int b) { return make_int4(clamp(x.x, a, b), clamp(x.y, a, b), clamp(x.z, a, b), clamp(x.w, a, b)); }
P2P_VEC int4 clamp(int4 x, int4 a, int4 b) { return make_int4(clamp(x.x, a.x, b.x), clamp(x.y, a.y, b.y), clamp(x.z, a.z, b.z), clamp(x.w, a.w, b.w)); }
P2P_VEC int dot(int4 a, int4 b) { return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w; }
P2P_VEC int4 make_int4(float4 a) { return make_int4((int)a.x, (int)a.y, (int)a.z, (int)a.w); }
P2P_VEC int4 make_int4(uint4 a) { return make_int4((int)a.x, (int)a.y, (int)a.z, (int)a.w); }
P2P_VEC int4 make_int4(int3 a) { return make_int4(a.x, a.y, a.z, 0); }
P2P_VEC int4 make_int4(int3 a, int w) { return make_int4(a.x, a.y, a.z, w); }
P2P_VEC int4 abs(int4 a) { return make_int4(abs(a.x), abs(a.y), abs(a.z), abs(a.w)); }
P2P_VEC uint2 make_uint2(unsigned s) { return make_uint2(s, s); }
P2P_VEC uint2 operator+(uint2 a, uint2 b) { return make_uint2(a.x + b.x, a.y + b.y); }
P2P_VEC uint2 operator+(uint2 a, unsigned b) { return make_uint2(a.x + b, a.y + b); }
P2P_VEC uint2 operator+(unsigned a, uint2 b) { return make_uint2(a + b.x, a + b.y); }
P2P_VEC void operator+=(uint2 &a, uint2 b) { a = a + b; }
P2P_VEC void operator+=(uint2 &a, unsigned b) { a = a + b; }
P2P_VEC uint2 operator-(uint2 a, uint2 b) { return make_uint2(a.x - b.x, a.y - b.y); }
P2P_VEC uint2 operator-(uint2 a, unsigned b) { return make_uint2(a.x - b, a.y - b); }
P2P_VEC uint2 operator-(unsigned a, uint2 b) { return make_uint2(a - b.x, a - b.y); }
P2P_VEC void operator-=(uint2 &a, uint2 b) { a = a - b; }
P2P_VEC void operator-=(uint2 &a, unsigned b) { a = a - b; }
P2P_VEC uint2 operator*(uint2 a, uint2 b) { return make_uint2(a.x * b.x, a.y * b.y); }
P2P_VEC uint2 operator*(uint2 a, unsigned b) { return make_uint2(a.x * b, a.y * b); }
P2P_VEC uint2 operator*(unsigned a, uint2 b) { return make_uint2(a * b.x, a * b.y); }
P2P_VEC void operator*=(uint2 &a, uint2 b) { a = a * b; }
P2P_VEC void operator*=(uint2 &a, unsigned b) { a = a * b; }
P2P_VEC uint2 min(uint2 a, uint2 b) { return make_uint2(min(a.x, b.x), min(a.y, b.y)); }
P2P_VEC uint2 max(uint2 a, uint2 b) { return make_uint2(max(a.x, b.x), max(a.y, b.y)); }
P2P_VEC uint2 clamp(uint2 x, unsigned a, unsigned b) { return make_uint2(clamp(x.x, a, b), clamp(x.y, a, b)); }
P2P_VEC uint2 clamp(uint2 x, uint2 a, uint2 b) { return make_uint2(clamp(x.x, a.x, b.x), clamp(x.y, a.y, b.y)); }
P2P_VEC unsigned dot(uint2 a, uint2 b) { return a.x * b.x + a.y * b.y; }
P2P_VEC uint2 make_uint2(float2 a) { return make_uint2((unsigned)a.x, (unsigned)a.y); }
P2P_VEC uint2 make_uint2(int2 a) { return make_uint2((unsigned)a.x, (unsigned)a.y); }
P2P_VEC uint2 make_uint2(uint3 a) { return make_uint2(a.x, a.y); }
P2P_VEC uint3 make_uint3(unsigned s) { return make_uint3(s, s, s); }
P2P_VEC uint3 operator+(uint3 a, uint3 b) { return make_uint3(a.x + b.x, a.y + b.y, a.z + b.z); }
P2P_VEC uint3 operator+(uint3 a, unsigned b) { return make_uint3(a.x + b, a.y + b, a.z + b); }
P2P_VEC uint3 operator+(unsigned a, uint3 b) { return make_uint3(a + b.x, a + b.y, a + b.z); }
P2P_VEC void operator+=(uint3 &a, uint3 b) { a = a + b; }
P2P_VEC void operator+=(uint3 &a, unsigned b) { a = a + b; }
P2P_VEC uint3 operator-(uint3 a, uint3 b) { return make_uint3(a.x - b.x, a.y - b.y, a.z - b.z); }
P2P_VEC uint3 operator-(uint3 a, unsigned b) { return make_uint3(a.x - b, a.y - b, a.z - b); }
P2P_VEC uint3 operator-(unsigned a, uint3 b) { return make_uint3(a - b.x, a - b.y, a - b.z); }
P2P_VEC void operator-=(uint3 &a, uint3 b) { a = a - b; }
P2P_VEC void operator-=(uint3 &a, unsigned b) { a = a - b; }
P2P_VEC uint3 operator*(uint3 a, uint3 b) { return make_uint3(a.x * b.x, a.y * b.y, a.z * b.z); }
P2P_VEC uint3 operator*(uint3 a, unsigned b) { return make_uint3(a.x * b, a.y * b, a.z * b); }
P2P_VEC uint3 operator*(unsigned a, uint3 b) { return make_uint3(a * b.x, a * b.y, a * b.z); }
P2P_VEC void operator*=(uint3 &a, uint3 b) { a = a * b; }
P2P_VEC void operator*=(uint3 &a, unsigned b) { a = a * b; }
P2P_VEC uint3 min(uint3 a, uint3 b) { return make_uint3(min(a.x, b.x), min(a.y, b.y), min(a.z, b.z)); }
P2P_VEC uint3 max(uint3 a, uint3 b) { return make_uint3(max(a.x, b.x), max(a.y, b.y), max(a.z, b.z)); }
P2P_VEC uint3 clamp(uint3 x, unsigned a, unsigned b) { return make_uint3(clamp(x.x, a, b), clamp(x.y, a, b), clamp(x.z, a, b)); }
P2P_VEC uint3 clamp(uint3 x, uint3 a, uint3 b) { return make_uint3(clamp(x.x, a.x, b.x), clamp(x.y, a.y, b.y), clamp(x.z, a.z, b.z)); }
P2P_VEC unsigned dot(uint3 a, uint3 b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
P2P_VEC uint3 make_uint3(float3 a) { return make_uint3((unsigned)a.x, (unsigned)a.y, (unsigned)a.z); }
P2P_VEC uint3 make_uint3(int3 a) { return make_uint3((unsigned)a.x, (unsigned)a.y, (unsigned)a.z); }
P2P_VEC uint3 make_uint3(uint2 a) { return make_uint3(a.x, a.y, 0); }
P2P_VEC uint3 make_uint3(uint2 a, unsigned z) { return make_uint3(a.x, a.y, z); }
P2P_VEC uint3 make_uint3(uint4 a) { return make_uint3(a.x, a.y, a.z); }
P2P_VEC uint4 make_uint4(unsigned s) { return make_uint4(s, s, s, s); }
P2P_VEC uint4 operator+(uint4 a, uint4 b) { return make_uint4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w); }
P2P_VEC uint4 operator+(uint4 a, unsigned b) { return make_uint4(a.x + b, a.y + b, a.z + b, a.w + b); }
P2P_VEC uint4 operator+(unsigned a, uint4 b) { return make_uint4(a + b.x, a + b.y, a + b.z, a + b.w); }
P2P_VEC void operator+=(uint4 &a, uint4 b) { a = a + b; }
P2P_VEC void operator+=(uint4 &a, unsigned b) { a = a + b; }
P2P_VEC uint4 operator-(uint4 a, uint4 b) { return make_uint4(a.x - b.x, a.y - b.y, a.z - b.z, a.w - b.w); }
P2P_VEC uint4 operator-(uint4 a, unsigned b) { return make_uint4(a.x - b, a.y - b, a.z - b, a.w - b); }
P2P_VEC uint4 operator-(unsigned a, uint4 b) { return make_uint4(a - b.x, a - b.y, a - b.z, a - b.w); }
P2P_VEC void operator-=(uint4 &a, uint4 b) { a = a - b; }
P2P_VEC void operator-=(uint4 &a, unsigned b) { a = a - b; }
P2P_VEC uint4 operator*(uint4 a, uint4 b) { return make_uint4(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w); }
P2P_VEC uint4 operator*(uint4 a, unsigned b) { return make_uint4(a.x * b, a.y * b, a.z * b, a.w * b); }
P2P_VEC uint4 operator*(unsigned a, uint4 b) { return make_uint4(a * b.x, a * b.y, a * b.z, a * b.w); }
P2P_VEC void operator*=(uint4 &a, uint4 b) { a = a * b; }
P2P_VEC void operator*=(uint4 &a, unsigned b) { a = a * b; }
P2P_VEC uint4 min(uint4 a, uint4 b) { return make_uint4(min(a.x, b.x), min(a.y, b.y), min(a.z, b.z), min(a.w, b.w)); }
P2P_VEC uint4 max(uint4 a, uint4 b) { return make_uint4(max(a.x, b.x), max(a.y, b.y), max(a.z, b.z), max(a.w, b.w)); }
P2P_VEC uint4 clamp(uint4 x, unsigned a, unsigned b) { return make_uint4(clamp(x.x, a, b), clamp(x.y, a, b), clamp(x.z, a, b), clamp(x.w, a, b)); }
P2P_VEC uint4 clamp(uint4 x, uint4 a, uint4 b) { return make_uint4(clamp(x.x, a.x, b.x), clamp(x.y, a.y, b.y), clamp(x.z, a.z, b.z), clamp(x.w, a.w, b.w)); }
P2P_VEC unsigned dot(uint4 a, uint4 b) { return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w; }
P2P_VEC uint4 make_uint4(float4 a) { return make_uint4((unsigned)a.x, (unsigned)a.y, (unsigned)a.z, (unsigned)a.w); }
P2P_VEC uint4 make_uint4(int4 a) { return make_uint4((unsigned)a.x, (unsigned)a.y, (unsigned)a.z, (unsigned)a.w); }
P2P_VEC uint4 make_uint4(uint3 a) { return make_uint4(a.x, a.y, a.z, 0); }
P2P_VEC uint4 make_uint4(uint3 a, unsigned w) { return make_uint4(a.x, a.y, a.z, w); }
P2P_VEC float3 cross(float3 a, float3 b) {
  return make_float3(a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x);
}

#endif
