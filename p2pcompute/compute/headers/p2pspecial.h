// Deterministic special functions: what CUDA 12.4 builds from approximate instructions and is rarely used. Included by
// p2pmath.h, under the same rules; errors are in docs/spec/math.md.
#ifndef P2PSPECIAL_H
#define P2PSPECIAL_H

// gamma(2 + t) for t in [0, 1]
P2P_FN double p2p_gamma_two(double t) {
  double p = -8.2283376125137289e-8;
  p = fma(p, t, 9.0535260019327412e-7);
  p = fma(p, t, -4.8638507354680139e-6);
  p = fma(p, t, 1.7377846260406162e-5);
  p = fma(p, t, -4.7665832641173342e-5);
  p = fma(p, t, 1.1129928924403551e-4);
  p = fma(p, t, -2.3452721860397244e-4);
  p = fma(p, t, 4.8730445573160009e-4);
  p = fma(p, t, -9.1843017931037622e-4);
  p = fma(p, t, 0.0021036102253792003);
  p = fma(p, t, -0.0028525775108560805);
  p = fma(p, t, 0.011154035187797032);
  p = fma(p, t, -2.6698092841471085e-4);
  p = fma(p, t, 0.074249010671404534);
  p = fma(p, t, 0.081576919250697332);
  p = fma(p, t, 0.41184033042635566);
  p = fma(p, t, 0.42278433509846792);
  p = fma(p, t, 1.0);
  return p;
}

// log gamma(x) / ((x - 1) (x - 2)), t = x - 1.125 in [-0.375, 0.375]
P2P_FN double p2p_lgamma_low(double t) {
  double p = -0.0033364909969457748;
  p = fma(p, t, 0.0039180819619762612);
  p = fma(p, t, -0.0020294170904300459);
  p = fma(p, t, 0.0024052181994097408);
  p = fma(p, t, -0.0037204410759091928);
  p = fma(p, t, 0.0044200316277771583);
  p = fma(p, t, -0.0051051409317337373);
  p = fma(p, t, 0.0061095285392883658);
  p = fma(p, t, -0.0073604997252063664);
  p = fma(p, t, 0.008885442652873304);
  p = fma(p, t, -0.010782953470194624);
  p = fma(p, t, 0.013170624359593542);
  p = fma(p, t, -0.016209048129205757);
  p = fma(p, t, 0.020132841860418066);
  p = fma(p, t, -0.025296547269316963);
  p = fma(p, t, 0.032263887137919116);
  p = fma(p, t, -0.041994856012586368);
  p = fma(p, t, 0.056282168769114524);
  p = fma(p, t, -0.078926819664606528);
  p = fma(p, t, 0.11960320844256032);
  p = fma(p, t, -0.21115323425817588);
  p = fma(p, t, 0.54878339772379047);
  return p;
}

// the same, t = x - 2.25 in [-0.75, 0.75]
P2P_FN double p2p_lgamma_high(double t) {
  double p = -1.4922144283217353e-9;
  p = fma(p, t, 3.4958112706149024e-9);
  p = fma(p, t, -3.5873906270594853e-9);
  p = fma(p, t, 8.4745133224438759e-9);
  p = fma(p, t, -2.6237256986129075e-8);
  p = fma(p, t, 6.2112682188309237e-8);
  p = fma(p, t, -1.4280824653864627e-7);
  p = fma(p, t, 3.4033035861593621e-7);
  p = fma(p, t, -8.162885225940421e-7);
  p = fma(p, t, 1.9610309298135663e-6);
  p = fma(p, t, -4.7345440765643753e-6);
  p = fma(p, t, 1.1501953265681634e-5);
  p = fma(p, t, -2.8149289639083216e-5);
  p = fma(p, t, 6.9522795162291638e-5);
  p = fma(p, t, -1.7370931765654702e-4);
  p = fma(p, t, 4.406567320300957e-4);
  p = fma(p, t, -0.0011409865900058921);
  p = fma(p, t, 0.0030411186579069323);
  p = fma(p, t, -0.0084640249935752807);
  p = fma(p, t, 0.025268354959288597);
  p = fma(p, t, -0.085880847551260995);
  p = fma(p, t, 0.3995894876556691);
  return p;
}

// x (log gamma(x) - ((x - 1/2) log x - x + log(2 pi) / 2)), z = 1 / x^2, x >= 8
P2P_FN double p2p_stirling(double z) {
  double p = 0.11001554697230516;
  p = fma(p, z, -0.027742741357056264);
  p = fma(p, z, 0.0063833220592708486);
  p = fma(p, z, -0.0019172870558704738);
  p = fma(p, z, 8.417495708290532e-4);
  p = fma(p, z, -5.9523809142679284e-4);
  p = fma(p, z, 7.936507936450394e-4);
  p = fma(p, z, -0.0027777777777777744);
  p = fma(p, z, 0.083333333333333333);
  return p;
}

// J0(x), z = x^2, x <= 4
P2P_FN double p2p_j0_low(double z) {
  double p = -3.3301115304181996e-28;
  p = fma(p, z, 2.5727501753270347e-25);
  p = fma(p, z, -1.4956053010918256e-22);
  p = fma(p, z, 7.2421190842638762e-20);
  p = fma(p, z, -2.8969015578302829e-17);
  p = fma(p, z, 9.3859668207716061e-15);
  p = fma(p, z, -2.4028075484195955e-12);
  p = fma(p, z, 4.7095027970177138e-10);
  p = fma(p, z, -6.78168402777623e-8);
  p = fma(p, z, 6.7816840277777469e-6);
  p = fma(p, z, -4.3402777777777774e-4);
  p = fma(p, z, 0.015625);
  p = fma(p, z, -0.25);
  p = fma(p, z, 1.0);
  return p;
}

// J0(6 + t), |t| <= 2
P2P_FN double p2p_j0_high(double t) {
  double p = 1.2832473109297992e-21;
  p = fma(p, t, 6.1996159795302236e-20);
  p = fma(p, t, -6.0368643152162631e-19);
  p = fma(p, t, -2.5677898353225717e-17);
  p = fma(p, t, 2.2435679012643703e-16);
  p = fma(p, t, 8.2220238320893908e-15);
  p = fma(p, t, -6.6977902121335964e-14);
  p = fma(p, t, -2.0691624021168888e-12);
  p = fma(p, t, 1.5645081621075355e-11);
  p = fma(p, t, 3.9607760359664248e-10);
  p = fma(p, t, -2.7609585487100552e-9);
  p = fma(p, t, -5.5113220189677316e-8);
  p = fma(p, t, 3.5106184266829986e-7);
  p = fma(p, t, 5.2271836052660142e-6);
  p = fma(p, t, -3.0037971984537289e-5);
  p = fma(p, t, -3.0597063486259441e-4);
  p = fma(p, t, 0.0015513507450481043);
  p = fma(p, t, 0.0092764073248681948);
  p = fma(p, t, -0.039367498300144672);
  p = fma(p, t, -0.0983796168027956);
  p = fma(p, t, 0.27668385812756561);
  p = fma(p, t, 0.15064525725099693);
  return p;
}

// (Y0(x) - 2/pi (log(x) J0(x))), z = x^2, x <= 4
P2P_FN double p2p_y0_low(double z) {
  double p = 6.9658626018771143e-28;
  p = fma(p, z, -5.2702469114448594e-25);
  p = fma(p, z, 2.9855993193090637e-22);
  p = fma(p, z, -1.4038409951421359e-19);
  p = fma(p, z, 5.4310567344956322e-17);
  p = fma(p, z, -1.6932714816703486e-14);
  p = fma(p, z, 4.143565734149762e-12);
  p = fma(p, z, -7.6930799007955987e-10);
  p = fma(p, z, 1.0358476033624787e-7);
  p = fma(p, z, -9.4950052052214803e-6);
  p = fma(p, z, 5.3860266686165488e-4);
  p = fma(p, z, -0.016073968025938426);
  p = fma(p, z, 0.17760601686906714);
  p = fma(p, z, -0.073804295108687225);
  return p;
}

// Y0(6 + t), |t| <= 2
P2P_FN double p2p_y0_high(double t) {
  double p = 1.7493812548244103e-21;
  p = fma(p, t, -1.0884938841404628e-20);
  p = fma(p, t, 2.2323759082650817e-20);
  p = fma(p, t, -1.3998772835284659e-19);
  p = fma(p, t, 1.4059661497459312e-18);
  p = fma(p, t, -8.8219119397955794e-18);
  p = fma(p, t, 5.0377821833741094e-17);
  p = fma(p, t, -3.1350442437967431e-16);
  p = fma(p, t, 2.5407635845185649e-15);
  p = fma(p, t, -1.705935878118811e-14);
  p = fma(p, t, -5.1912811789574597e-14);
  p = fma(p, t, 5.3219329287234206e-13);
  p = fma(p, t, 3.3042588378480572e-11);
  p = fma(p, t, -2.3715536872664816e-10);
  p = fma(p, t, -4.7424049490441676e-9);
  p = fma(p, t, 3.1676940197604039e-8);
  p = fma(p, t, 5.7159639443387299e-7);
  p = fma(p, t, -3.4672851201055103e-6);
  p = fma(p, t, -4.2601144925682232e-5);
  p = fma(p, t, 2.3058347484547101e-4);
  p = fma(p, t, 0.0018689630526375633);
  p = fma(p, t, -0.0087792948889904304);
  p = fma(p, t, -0.035553332454180627);
  p = fma(p, t, 0.12951314663242306);
  p = fma(p, t, 0.17501034430039825);
  p = fma(p, t, -0.28819468398157915);
  return p;
}

// P and Q of Hankel's expansion of order 0, z = (8 / x)^2, x >= 8 (Q is divided by 8 / x)
P2P_FN double p2p_bessel_p0(double z) {
  double p = -9.2953406803369584e-11;
  p = fma(p, z, 7.4078215507300642e-10);
  p = fma(p, z, -2.7665222591965585e-9);
  p = fma(p, z, 6.5674050561251042e-9);
  p = fma(p, z, -1.1558670493174413e-8);
  p = fma(p, z, 1.7236183222716563e-8);
  p = fma(p, z, -2.5395423253874335e-8);
  p = fma(p, z, 4.3812694276885055e-8);
  p = fma(p, z, -1.0239239880790091e-7);
  p = fma(p, z, 3.6203309502079102e-7);
  p = fma(p, z, -2.1839190342077268e-6);
  p = fma(p, z, 2.738088367210799e-5);
  p = fma(p, z, -0.0010986328124996737);
  p = fma(p, z, 1.0);
  return p;
}

P2P_FN double p2p_bessel_q0(double z) {
  double p = 9.9901897648514816e-11;
  p = fma(p, z, -7.8908993619329156e-10);
  p = fma(p, z, 2.9078974452671494e-9);
  p = fma(p, z, -6.7599602658905277e-9);
  p = fma(p, z, 1.1495627266512138e-8);
  p = fma(p, z, -1.6184453915182371e-8);
  p = fma(p, z, 2.173247023688041e-8);
  p = fma(p, z, -3.2742367670056404e-8);
  p = fma(p, z, 6.4103216633821701e-8);
  p = fma(p, z, -1.8163977403723179e-7);
  p = fma(p, z, 8.2384401089927263e-7);
  p = fma(p, z, -6.9307861600098453e-6);
  p = fma(p, z, 1.4305114746056068e-4);
  p = fma(p, z, -0.015624999999999999);
  return p;
}

// I0(x), z = x^2, x <= 8
P2P_FN double p2p_i0_low(double z) {
  double p = 6.3627003222124916e-56;
  p = fma(p, z, 8.0336067823635661e-53);
  p = fma(p, z, 1.5514229040910588e-49);
  p = fma(p, z, 2.4562605861107393e-46);
  p = fma(p, z, 3.5503286440713209e-43);
  p = fma(p, z, 4.6008823599847445e-40);
  p = fma(p, z, 5.3186457495610203e-37);
  p = fma(p, z, 5.4462917481512672e-34);
  p = fma(p, z, 4.9016626421392562e-31);
  p = fma(p, z, 3.8429035089318524e-28);
  p = fma(p, z, 2.5978027721105123e-25);
  p = fma(p, z, 1.4963343967339846e-22);
  p = fma(p, z, 7.2422584801927893e-20);
  p = fma(p, z, 2.8969033920771114e-17);
  p = fma(p, z, 9.3859669903298414e-15);
  p = fma(p, z, 2.4028075495244394e-12);
  p = fma(p, z, 4.7095027970679012e-10);
  p = fma(p, z, 6.7816840277777778e-8);
  p = fma(p, z, 6.7816840277777778e-6);
  p = fma(p, z, 4.3402777777777778e-4);
  p = fma(p, z, 0.015625);
  p = fma(p, z, 0.25);
  p = fma(p, z, 1.0);
  return p;
}

// I0(x) sqrt(x) / exp(x), t = 16 / x - 1, x >= 8
P2P_FN double p2p_i0_high(double t) {
  double p = -2.4504790637959159e-11;
  p = fma(p, t, 9.118805124678376e-11);
  p = fma(p, t, 1.7744044257807051e-10);
  p = fma(p, t, -6.4967333777877778e-10);
  p = fma(p, t, -6.3389855600714475e-10);
  p = fma(p, t, 2.1641705761317357e-9);
  p = fma(p, t, 1.6100081168695156e-9);
  p = fma(p, t, -4.5312017631234921e-9);
  p = fma(p, t, -3.5875906081084988e-9);
  p = fma(p, t, 6.5227689209322429e-9);
  p = fma(p, t, 7.6009866363302003e-9);
  p = fma(p, t, -5.0178524411298586e-9);
  p = fma(p, t, -1.3427779877468503e-8);
  p = fma(p, t, -6.8563995978264924e-9);
  p = fma(p, t, 7.5594271861224211e-9);
  p = fma(p, t, 2.1567789377160627e-8);
  p = fma(p, t, 3.9325114166409798e-8);
  p = fma(p, t, 8.8720147929190714e-8);
  p = fma(p, t, 2.9735992156596497e-7);
  p = fma(p, t, 1.4838476779656743e-6);
  p = fma(p, t, 1.1143033788425403e-5);
  p = fma(p, t, 1.3621607438951765e-4);
  p = fma(p, t, 0.0033605519836678914);
  p = fma(p, t, 0.40217650944500809);
  return p;
}

// J1(x) / x, z = x^2, x <= 4
P2P_FN double p2p_j1_low(double z) {
  double p = -1.2008098594126258e-29;
  p = fma(p, z, 9.9075627811483393e-27);
  p = fma(p, z, -6.2322806334480116e-24);
  p = fma(p, z, 3.2918888869173996e-21);
  p = fma(p, z, -1.448451080228933e-18);
  p = fma(p, z, 5.2144260488019331e-16);
  p = fma(p, z, -1.5017547180817202e-13);
  p = fma(p, z, 3.3639305693173583e-11);
  p = fma(p, z, -5.6514033564809616e-9);
  p = fma(p, z, 6.7816840277777674e-7);
  p = fma(p, z, -5.4253472222222221e-5);
  p = fma(p, z, 0.0026041666666666667);
  p = fma(p, z, -0.0625);
  p = fma(p, z, 0.5);
  return p;
}

// J1(6 + t), |t| <= 2
P2P_FN double p2p_j1_high(double t) {
  double p = 2.8514099684030153e-21;
  p = fma(p, t, -2.6843606732662245e-20);
  p = fma(p, t, -1.2969613921294869e-18);
  p = fma(p, t, 1.146805488516828e-17);
  p = fma(p, t, 4.6268994142096458e-16);
  p = fma(p, t, -3.8140494275710493e-15);
  p = fma(p, t, -1.3155470942377535e-13);
  p = fma(p, t, 1.004668460681262e-12);
  p = fma(p, t, 2.8968280421591973e-11);
  p = fma(p, t, -2.0338606088355673e-10);
  p = fma(p, t, -4.7529312556283197e-9);
  p = fma(p, t, 3.0370544035496368e-8);
  p = fma(p, t, 5.5113220191106449e-7);
  p = fma(p, t, -3.1595565840143844e-6);
  p = fma(p, t, -4.1817468842137917e-5);
  p = fma(p, t, 2.1026580389176084e-4);
  p = fma(p, t, 0.0018358238091755701);
  p = fma(p, t, -0.0077567537252405212);
  p = fma(p, t, -0.03710562929947278);
  p = fma(p, t, 0.11810249490043402);
  p = fma(p, t, 0.1967592336055912);
  p = fma(p, t, -0.27668385812756561);
  return p;
}

// (Y1(x) - 2/pi (log(x) J1(x) - 1/x)) / x, z = x^2, x <= 4
P2P_FN double p2p_y1_low(double z) {
  double p = 2.5399126497741735e-29;
  p = fma(p, z, -2.0539485742265949e-26);
  p = fma(p, z, 1.260659182069795e-23);
  p = fma(p, z, -6.4763894839331958e-21);
  p = fma(p, z, 2.7616346478483405e-18);
  p = fma(p, z, -9.5914864633232056e-16);
  p = fma(p, z, 2.6494815062071484e-13);
  p = fma(p, z, -5.6480245515592415e-11);
  p = fma(p, z, 8.9318796212190096e-9);
  p = fma(p, z, -9.9267406194247991e-7);
  p = fma(p, z, 7.1642687499739618e-5);
  p = fma(p, z, -0.0029553053360798337);
  p = fma(p, z, 0.054348688160510244);
  p = fma(p, z, -0.19605709064623895);
  return p;
}

// Y1(6 + t), |t| <= 2
P2P_FN double p2p_y1_high(double t) {
  double p = 7.7315707218668941e-21;
  p = fma(p, t, -4.6294278678092263e-20);
  p = fma(p, t, 7.6105066533760125e-20);
  p = fma(p, t, -4.5464265675184386e-19);
  p = fma(p, t, 5.0264960098613292e-18);
  p = fma(p, t, -3.011511461176465e-17);
  p = fma(p, t, 1.6462047505538589e-16);
  p = fma(p, t, -9.5378748737572767e-16);
  p = fma(p, t, 5.6888714587004058e-15);
  p = fma(p, t, -4.3205315004995332e-14);
  p = fma(p, t, 2.72831505053193e-13);
  p = fma(p, t, 7.7872172751949398e-13);
  p = fma(p, t, -7.4504999344106071e-12);
  p = fma(p, t, -4.2955369600736108e-10);
  p = fma(p, t, 2.8458641838699382e-9);
  p = fma(p, t, 5.2166454488709942e-8);
  p = fma(p, t, -3.1676940179288125e-7);
  p = fma(p, t, -5.1443675499373537e-6);
  p = fma(p, t, 2.7738280960758323e-5);
  p = fma(p, t, 2.9820801447978823e-4);
  p = fma(p, t, -0.0013835008490728037);
  p = fma(p, t, -0.009344815263187819);
  p = fma(p, t, 0.035117179555961719);
  p = fma(p, t, 0.10665999736254188);
  p = fma(p, t, -0.25902629326484611);
  p = fma(p, t, -0.17501034430039825);
  return p;
}

// P and Q of Hankel's expansion of order 1, z = (8 / x)^2, x >= 8 (Q is divided by 8 / x)
P2P_FN double p2p_bessel_p1(double z) {
  double p = 9.8407564994318657e-11;
  p = fma(p, z, -7.8466627330025281e-10);
  p = fma(p, z, 2.9327998226323424e-9);
  p = fma(p, z, -6.971310277629876e-9);
  p = fma(p, z, 1.2297169766216205e-8);
  p = fma(p, z, -1.8410128869219943e-8);
  p = fma(p, z, 2.7310850506198181e-8);
  p = fma(p, z, -4.7635757904027894e-8);
  p = fma(p, z, 1.1317408747337889e-7);
  p = fma(p, z, -4.103048087126009e-7);
  p = fma(p, z, 2.5809952949795434e-6);
  p = fma(p, z, -3.5203993297700573e-5);
  p = fma(p, z, 0.0018310546874996558);
  p = fma(p, z, 1.0);
  return p;
}

P2P_FN double p2p_bessel_q1(double z) {
  double p = -1.0555459771825357e-10;
  p = fma(p, z, 8.3412750407729318e-10);
  p = fma(p, z, -3.0760317969324957e-9);
  p = fma(p, z, 7.1588515018198534e-9);
  p = fma(p, z, -1.2196959591362068e-8);
  p = fma(p, z, 1.7228401331727245e-8);
  p = fma(p, z, -2.3265886409893684e-8);
  p = fma(p, z, 3.53750033843662e-8);
  p = fma(p, z, -7.0211765771550986e-8);
  p = fma(p, z, 2.0300976785711876e-7);
  p = fma(p, z, -9.5058931034172622e-7);
  p = fma(p, z, 8.4709608664650559e-6);
  p = fma(p, z, -2.002716064449158e-4);
  p = fma(p, z, 0.046874999999999999);
  return p;
}

// I1(x) / x, z = x^2, x <= 8
P2P_FN double p2p_i1_low(double z) {
  double p = 1.3635640071226256e-57;
  p = fma(p, z, 1.8399381189277639e-54);
  p = fma(p, z, 3.6891262895920888e-51);
  p = fma(p, z, 6.1416367552712725e-48);
  p = fma(p, z, 9.3428278748284359e-45);
  p = fma(p, z, 1.2780243909385423e-41);
  p = fma(p, z, 1.5643074505087463e-38);
  p = fma(p, z, 1.7019661790868073e-35);
  p = fma(p, z, 1.6338875469890969e-32);
  p = fma(p, z, 1.3724655389198556e-29);
  p = fma(p, z, 9.9915491234969725e-27);
  p = fma(p, z, 6.234726653058397e-24);
  p = fma(p, z, 3.2919356728149016e-21);
  p = fma(p, z, 1.4484516960385557e-18);
  p = fma(p, z, 5.2144261057388008e-16);
  p = fma(p, z, 1.5017547184527746e-13);
  p = fma(p, z, 3.3639305693342152e-11);
  p = fma(p, z, 5.6514033564814815e-9);
  p = fma(p, z, 6.7816840277777778e-7);
  p = fma(p, z, 5.4253472222222222e-5);
  p = fma(p, z, 0.0026041666666666667);
  p = fma(p, z, 0.0625);
  p = fma(p, z, 0.5);
  return p;
}

// I1(x) sqrt(x) / exp(x), t = 16 / x - 1, x >= 8
P2P_FN double p2p_i1_high(double t) {
  double p = 2.2506836881647293e-11;
  p = fma(p, t, -9.4959930205449169e-11);
  p = fma(p, t, -1.6330498471647934e-10);
  p = fma(p, t, 6.7749206905793849e-10);
  p = fma(p, t, 5.8820546422596183e-10);
  p = fma(p, t, -2.2629364050899397e-9);
  p = fma(p, t, -1.5233850963982507e-9);
  p = fma(p, t, 4.7644197995571935e-9);
  p = fma(p, t, 3.5031114093750548e-9);
  p = fma(p, t, -6.9449299300273841e-9);
  p = fma(p, t, -7.6880059373252262e-9);
  p = fma(p, t, 5.572280524491222e-9);
  p = fma(p, t, 1.4052023820420303e-8);
  p = fma(p, t, 6.8474921245085462e-9);
  p = fma(p, t, -8.4322341251263427e-9);
  p = fma(p, t, -2.3394105322401808e-8);
  p = fma(p, t, -4.3128488678986873e-8);
  p = fma(p, t, -1.0001075256519489e-7);
  p = fma(p, t, -3.4838563538724396e-7);
  p = fma(p, t, -1.8349102492705732e-6);
  p = fma(p, t, -1.5038547198194427e-5);
  p = fma(p, t, -2.1923576383138082e-4);
  p = fma(p, t, -0.0097495771932357645);
  p = fma(p, t, 0.38939845902587232);
  return p;
}

#define P2P_INF __longlong_as_double(0x7ff0000000000000LL)
#define P2P_NAN __longlong_as_double(0x7ff8000000000000LL)

// Lengths -----------------------------------------------------------------------------------------------------------

// The power of two that brings the largest of some magnitudes near one, so that squares neither overflow nor vanish.
P2P_FN double p2p_length_scale(double a) {
  int e = (int)(__double_as_longlong(a) >> 52);
  return __longlong_as_double((long long)(2046 - min(max(e, 1), 2045)) << 52);
}
P2P_FN double p2p_norm4d(double a, double b, double c, double d) {
  a = fabs(a), b = fabs(b), c = fabs(c), d = fabs(d);
  double m = fmax(fmax(a, b), fmax(c, d));
  if (m == P2P_INF || m == 0.0) return m == 0.0 ? a + b + c + d : m;
  double s = p2p_length_scale(m);
  a *= s, b *= s, c *= s, d *= s;
  return sqrt(fma(a, a, b * b) + fma(c, c, d * d)) / s;
}
P2P_FN double p2p_norm3d(double a, double b, double c) { return p2p_norm4d(a, b, c, 0.0); }
P2P_FN double p2p_rnorm4d(double a, double b, double c, double d) { return 1.0 / p2p_norm4d(a, b, c, d); }
P2P_FN double p2p_rnorm3d(double a, double b, double c) { return 1.0 / p2p_norm4d(a, b, c, 0.0); }
P2P_FN double p2p_rhypot(double x, double y) { return 1.0 / p2p_norm4d(x, y, 0.0, 0.0); }
P2P_FN double p2p_norm(int dim, const double *p) {
  double m = 0.0, sum = 0.0;
  bool odd = false;
  for (int i = 0; i < dim; i++) {
    m = fmax(m, fabs(p[i]));
    odd |= p[i] != p[i];
  }
  if (m == P2P_INF || odd || m == 0.0) return m == P2P_INF ? m : odd ? P2P_NAN : m;
  double s = p2p_length_scale(m);
  for (int i = 0; i < dim; i++) sum = fma(p[i] * s, p[i] * s, sum);
  return sqrt(sum) / s;
}
P2P_FN double p2p_rnorm(int dim, const double *p) { return 1.0 / p2p_norm(dim, p); }
P2P_FN float p2p_normf(int dim, const float *p) {
  double sum = 0.0;
  bool infinite = false;
  for (int i = 0; i < dim; i++) {
    sum = fma((double)p[i], (double)p[i], sum);
    infinite |= fabs((double)p[i]) == P2P_INF;
  }
  return (float)(infinite ? P2P_INF : sqrt(sum));
}
P2P_FN float p2p_rnormf(int dim, const float *p) {
  double sum = 0.0;
  bool infinite = false;
  for (int i = 0; i < dim; i++) {
    sum = fma((double)p[i], (double)p[i], sum);
    infinite |= fabs((double)p[i]) == P2P_INF;
  }
  return (float)(infinite ? 0.0 : 1.0 / sqrt(sum));
}
P2P_FN float p2p_norm4df(float a, float b, float c, float d) {
  return (float)p2p_norm4d((double)a, (double)b, (double)c, (double)d);
}
P2P_FN float p2p_norm3df(float a, float b, float c) { return p2p_norm4df(a, b, c, 0.0f); }
P2P_FN float p2p_rnorm4df(float a, float b, float c, float d) {
  return (float)p2p_rnorm4d((double)a, (double)b, (double)c, (double)d);
}
P2P_FN float p2p_rnorm3df(float a, float b, float c) { return p2p_rnorm4df(a, b, c, 0.0f); }
P2P_FN float p2p_rhypotf(float x, float y) { return (float)p2p_rhypot((double)x, (double)y); }
P2P_FN float p2p_remquof(float x, float y, int *quotient) { return (float)remquo((double)x, (double)y, quotient); }

// The error function's relatives ------------------------------------------------------------------------------------

P2P_FN double p2p_exp_square(double x) {
  double h = x * x, y = exp(h);
  return h > 709.8 ? P2P_INF : fma(y, fma(x, x, -h), y);
}
P2P_FN double p2p_erfcx(double x) {
  if (x != x) return x;
  if (x < -26.7) return P2P_INF;
  if (x < 0.5) return p2p_exp_square(x) * p2p_erfc(x);
  double z = 1.0 / x, s = z * z;
  if (x > 28.0) {  // the asymptotic series
    double p = fma(s, fma(s, fma(s, 162.421875, -29.53125), 6.5625), -1.875);
    return 0.56418958354775628695 * z * fma(s, fma(s, fma(s, p, 0.75), -0.5), 1.0);
  }
  return p2p_erfc_scaled(x);
}

// One step of Halley's method towards erfc(y) = x, or erf(y) = x where `small`.
P2P_FN double p2p_erf_step(double y, double x, bool small) {
  double error = small ? x - p2p_erf_head(y) : p2p_erfc(y) - x;
  double u = error * 0.88622692545275801365 * p2p_exp_square(y);
  return y + u / fma(-y, u, 1.0);
}
// For 0 < x < 1/2. First guess: Abramowitz and Stegun 26.2.23.
P2P_FN double p2p_erfcinv_tail(double x) {
  double t = sqrt(-2.0 * p2p_log(0.5 * x));
  double top = fma(t, fma(t, 0.010328, 0.802853), 2.515517);
  double below = fma(t, fma(t, fma(t, 0.001308, 0.189269), 1.432788), 1.0);
  double y = (t - top / below) * 0.70710678118654752440;
  y = p2p_erf_step(y, x, false);
  return p2p_erf_step(y, x, false);
}
// For |x| <= 1/2. First guess: the beginning of the series.
P2P_FN double p2p_erfinv_head(double x) {
  double s = x * x;
  double p = fma(s, fma(s, fma(s, 0.0864, 0.1275561753), 0.2320136665), 0.8862269255);
  double y = p2p_erf_step(x * p, x, true);
  return p2p_erf_step(y, x, true);
}
P2P_FN double p2p_erfinv(double x) {
  double a = fabs(x);
  if (!(a < 1.0)) return a == 1.0 ? copysign(P2P_INF, x) : P2P_NAN;
  return a <= 0.5 ? p2p_erfinv_head(x) : copysign(p2p_erfcinv_tail(1.0 - a), x);
}
P2P_FN double p2p_erfcinv(double x) {
  if (!(x > 0.0 && x < 2.0)) return x == 0.0 ? P2P_INF : x == 2.0 ? -P2P_INF : P2P_NAN;
  if (x < 0.5) return p2p_erfcinv_tail(x);
  return x <= 1.5 ? p2p_erfinv_head(1.0 - x) : -p2p_erfcinv_tail(2.0 - x);
}
P2P_FN double p2p_normcdfinv(double x) {
  double y = p2p_erfcinv(2.0 * x);
  return fabs(y) == P2P_INF ? -y : -fma(y, 1.41421356237309504880, y * -9.6672933134529135e-17);
}

// Gamma -------------------------------------------------------------------------------------------------------------

// gamma(x) for x > 0: by its recurrence from [2, 3) up to 20, beyond by Stirling's series.
P2P_FN double p2p_gamma_positive(double x) {
  if (x > 171.7) return P2P_INF;
  if (x >= 20.0) {
    double h = p2p_pow(x, 0.5 * x - 0.25), y = 1.0 / x;
    return 2.5066282746310005024 * h * (h * exp(-x)) * exp(p2p_stirling(y * y) * y);
  }
  double product = 1.0, quotient = 1.0;
  while (x >= 3.0) {
    x -= 1.0;
    product *= x;
  }
  while (x < 2.0) {
    quotient *= x;
    x += 1.0;
  }
  return p2p_gamma_two(x - 2.0) * product / quotient;
}
P2P_FN double p2p_tgamma(double x) {
  if (x != x || x == P2P_INF) return x;
  if (x == 0.0) return copysign(P2P_INF, x);
  if (x > 0.0) return x < 1e-300 ? 1.0 / x : p2p_gamma_positive(x);
  if (floor(x) == x) return P2P_NAN;
  if (x < -185.0) return copysign(0.0, p2p_is_odd(floor(x)) ? -1.0 : 1.0);
  double s = x * sinpi(x);
  if (x > -1e-300) return 1.0 / x;
  if (x > -170.0) return -3.1415926535897932385 / (s * p2p_gamma_positive(-x));
  double rest = 1.0;  // gamma(-x) overflows: take it at -x - 16
  for (int i = 1; i <= 16; i++) rest *= -x - (double)i;
  return -3.1415926535897932385 / s / p2p_gamma_positive(-x - 16.0) / rest;
}
P2P_FN double p2p_lgamma_positive(double x) {
  if (x >= 8.0) {
    double y = 1.0 / x, l = p2p_log(x) - 1.0;
    return x > 1e300 ? x * l : fma(x, l, fma(-0.5, l + 1.0, 0.91893853320467274178) + p2p_stirling(y * y) * y);
  }
  if (x >= 3.0) {
    double product = 1.0;
    while (x >= 3.0) {
      x -= 1.0;
      product *= x;
    }
    return p2p_log(product) + (x - 1.0) * (x - 2.0) * p2p_lgamma_high(x - 2.25);
  }
  if (x >= 1.5) return (x - 1.0) * (x - 2.0) * p2p_lgamma_high(x - 2.25);
  if (x >= 0.75) return (x - 1.0) * (x - 2.0) * p2p_lgamma_low(x - 1.125);
  double r = x >= 0.5 ? p2p_lgamma_high(x - 1.25) : p2p_lgamma_low(x - 0.125);
  return x * (x - 1.0) * r - p2p_log(x);
}
P2P_FN double p2p_lgamma(double x) {
  if (x != x) return x;
  if (fabs(x) == P2P_INF || (x <= 0.0 && floor(x) == x)) return P2P_INF;
  if (x > 0.0) return p2p_lgamma_positive(x);
  double s = fabs(sinpi(x));
  return (1.1447298858494001741 - p2p_log(s * -x)) - p2p_lgamma_positive(-x);
}

// Bessel functions --------------------------------------------------------------------------------------------------

// The amplitude sqrt(2 / (pi x)) times what Hankel's expansion has for J (`second` false) or Y, x >= 8.
P2P_FN double p2p_bessel_far(double x, double p, double q, int order, bool second) {
  double s, c;
  p2p_sincos(x, &s, &c);
  double cosine = order ? s - c : s + c, sine = order ? -s - c : s - c;  // of x - (2 order + 1) pi/4, times sqrt(2)
  double t = second ? fma(p, sine, q * cosine) : fma(p, cosine, -q * sine);
  return 0.56418958354775628695 / sqrt(x) * t;
}
P2P_FN double p2p_j0(double x) {
  double a = fabs(x);
  if (a != a) return a;
  if (a <= 4.0) return p2p_j0_low(a * a);
  if (a <= 8.0) return p2p_j0_high(a - 6.0);
  double y = 8.0 / a, z = y * y;
  return a == P2P_INF ? 0.0 : p2p_bessel_far(a, p2p_bessel_p0(z), y * p2p_bessel_q0(z), 0, false);
}
P2P_FN double p2p_j1(double x) {
  double a = fabs(x), r;
  if (a != a) return a;
  double y = 8.0 / a, z = y * y;
  if (a <= 4.0) r = a * p2p_j1_low(a * a);
  else if (a <= 8.0) r = p2p_j1_high(a - 6.0);
  else r = a == P2P_INF ? 0.0 : p2p_bessel_far(a, p2p_bessel_p1(z), y * p2p_bessel_q1(z), 1, false);
  return x < 0.0 ? -r : r;
}
P2P_FN double p2p_y0(double x) {
  if (!(x > 0.0)) return x == 0.0 ? -P2P_INF : P2P_NAN;
  if (x <= 4.0) return fma(0.63661977236758134308 * p2p_log(x), p2p_j0_low(x * x), p2p_y0_low(x * x));
  if (x <= 8.0) return p2p_y0_high(x - 6.0);
  double y = 8.0 / x, z = y * y;
  return x == P2P_INF ? 0.0 : p2p_bessel_far(x, p2p_bessel_p0(z), y * p2p_bessel_q0(z), 0, true);
}
P2P_FN double p2p_y1(double x) {
  if (!(x > 0.0)) return x == 0.0 ? -P2P_INF : P2P_NAN;
  if (x <= 4.0) {
    double l = fma(p2p_log(x), x * p2p_j1_low(x * x), -1.0 / x);
    return fma(0.63661977236758134308, l, x * p2p_y1_low(x * x));
  }
  if (x <= 8.0) return p2p_y1_high(x - 6.0);
  double y = 8.0 / x, z = y * y;
  return x == P2P_INF ? 0.0 : p2p_bessel_far(x, p2p_bessel_p1(z), y * p2p_bessel_q1(z), 1, true);
}
// By recurrence: upwards where that is stable, else downwards from far above (J. C. P. Miller), normalised by
// J0 + 2 J2 + 2 J4 + ... = 1. As in CUDA, a negative order gives NaN.
P2P_FN double p2p_jn(int n, double x) {
  if (n < 0 || x != x) return P2P_NAN;
  if (n == 0) return p2p_j0(x);
  if (n == 1) return p2p_j1(x);
  double a = fabs(x), result;
  if (a == 0.0 || a == P2P_INF) return 0.0;
  if (a > (double)n) {
    double before = p2p_j0(a), now = p2p_j1(a), w = 2.0 / a;
    for (int k = 1; k < n; k++) {
      double next = fma((double)k * w, now, -before);
      before = now;
      now = next;
    }
    result = now;
  } else {
    int start = 2 * ((n + (int)sqrt(60.0 * (double)n) + 20) / 2);
    double above = 0.0, now = 1e-300, sum = 0.0, w = 2.0 / a;
    result = 0.0;
    for (int k = start; k > 0; k--) {
      double next = fma((double)k * w, now, -above);  // of order k - 1
      above = now;
      now = next;
      if (k - 1 == n) result = now;
      if (k & 1) sum += now;
      if (fabs(now) > 1e250) {
        now *= 1e-250, above *= 1e-250, sum *= 1e-250, result *= 1e-250;
      }
    }
    result /= 2.0 * sum - now;
  }
  return x < 0.0 && (n & 1) ? -result : result;
}
P2P_FN double p2p_yn(int n, double x) {
  if (n < 0 || !(x >= 0.0)) return P2P_NAN;
  if (n == 0) return p2p_y0(x);
  double before = p2p_y0(x), now = p2p_y1(x), w = 2.0 / x;
  if (x == P2P_INF) return 0.0;
  for (int k = 1; k < n && now > -P2P_INF; k++) {
    double next = fma((double)k * w, now, -before);
    before = now;
    now = next;
  }
  return now;
}
P2P_FN double p2p_i_far(double a, double p) {
  double h = exp(0.5 * a);
  return p / sqrt(a) * h * h;
}
P2P_FN double p2p_i0(double x) {
  double a = fabs(x);
  if (a == P2P_INF || a != a) return a;
  return a <= 8.0 ? p2p_i0_low(a * a) : p2p_i_far(a, p2p_i0_high(16.0 / a - 1.0));
}
P2P_FN double p2p_i1(double x) {
  double a = fabs(x);
  if (a == P2P_INF || a != a) return x;
  return a <= 8.0 ? x * p2p_i1_low(a * a) : copysign(p2p_i_far(a, p2p_i1_high(16.0 / a - 1.0)), x);
}

P2P_FN float p2p_erfcxf(float x) { return (float)p2p_erfcx((double)x); }
P2P_FN float p2p_erfinvf(float x) { return (float)p2p_erfinv((double)x); }
P2P_FN float p2p_erfcinvf(float x) { return (float)p2p_erfcinv((double)x); }
P2P_FN float p2p_normcdfinvf(float x) { return (float)p2p_normcdfinv((double)x); }
P2P_FN float p2p_tgammaf(float x) { return (float)p2p_tgamma((double)x); }
P2P_FN float p2p_lgammaf(float x) { return (float)p2p_lgamma((double)x); }
P2P_FN float p2p_j0f(float x) { return (float)p2p_j0((double)x); }
P2P_FN float p2p_j1f(float x) { return (float)p2p_j1((double)x); }
P2P_FN float p2p_jnf(int n, float x) { return (float)p2p_jn(n, (double)x); }
P2P_FN float p2p_y0f(float x) { return (float)p2p_y0((double)x); }
P2P_FN float p2p_y1f(float x) { return (float)p2p_y1((double)x); }
P2P_FN float p2p_ynf(int n, float x) { return (float)p2p_yn(n, (double)x); }
P2P_FN float p2p_i0f(float x) { return (float)p2p_i0((double)x); }
P2P_FN float p2p_i1f(float x) { return (float)p2p_i1((double)x); }
#undef P2P_INF
#undef P2P_NAN
#endif
