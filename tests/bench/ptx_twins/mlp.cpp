extern "C" void mlp(const float *__restrict__ x, const float *__restrict__ weight, const float *__restrict__ bias,
                    float *__restrict__ y, int inputs, int outputs) {
    for (int sample = 0; sample < 256; sample++) {
        float *mine = y + sample * outputs;
        for (int o = 0; o < outputs; o++) mine[o] = bias[o];
        for (int i = 0; i < inputs; i++) {
            float v = x[sample * inputs + i];
            for (int o = 0; o < outputs; o++) mine[o] += v * weight[i * outputs + o];
        }
        for (int o = 0; o < outputs; o++) mine[o] = mine[o] > 0 ? mine[o] : 0;
    }
}
