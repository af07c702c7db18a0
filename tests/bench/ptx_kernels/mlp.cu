// One dense layer with ReLU: a thread per output; weights lie input by input.
extern "C" __global__ void mlp(const float *__restrict__ x, const float *__restrict__ weight, const float *__restrict__ bias,
                               float *__restrict__ y, int inputs, int outputs) {
    int o = blockIdx.x * blockDim.x + threadIdx.x, sample = blockIdx.y;
    if (o >= outputs) return;
    float s = bias[o];
    for (int i = 0; i < inputs; i++) s += x[sample * inputs + i] * weight[i * outputs + o];
    y[sample * outputs + o] = s > 0 ? s : 0;
}
